"""`python -m mesh.local`: the `marquee` command."""

from mesh.local.cli import main

main()
