"""`python -m local`: the `marquee` command."""

from local.cli import main

main()
