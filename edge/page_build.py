"""The page for people and the API reference (edge/page), bundled: `python -m edge.page_build`.

With the machine's Node or one from PyPI, which is not kept (`edge.npm`), or with what `--npm` names (several
words are allowed: `node npm-cli.js`) and the `node` that is first on PATH.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge import npm

SOURCES: Final = Path(__file__).with_name("page")
MANIFEST: Final = "manifest.json"


def folder() -> Path | None:
    """The bundled files; None if they were never made from these sources."""
    made = _folder()
    return made if (made / MANIFEST).exists() else None


def _folder() -> Path:
    """Of these sources: a checkout of another release makes its own."""
    return Path(sys.prefix) / "lib" / "marquee" / f"page-{npm.digest(npm.sources(SOURCES), SOURCES)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Bundles the page unless it is there."""
    parser = argparse.ArgumentParser(prog="python -m edge.page_build", description="Bundles the page.")
    parser.add_argument("--npm", metavar="WORDS", help="what npm is started with (default: what is found)")
    words = shlex.split(parser.parse_args(argv).npm or "")
    if folder() is not None:
        return 0
    try:
        npm.bundle(SOURCES, _folder(), (lambda _: npm.given(words)) if words else npm.find, "--omit=dev")
    except (OSError, subprocess.SubprocessError) as error:
        print(f"edge.page_build: the page can't be bundled: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
