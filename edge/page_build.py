"""The page for people and the API reference (edge/page), bundled: `python -m edge.page_build`.

With `npm`, or with what `--npm` names (several words are allowed: `node npm-cli.js`), and the `node` that is
first on PATH. npm takes what package-lock.json says, by hash, and runs no scripts.
"""

import argparse
import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).with_name("page")
MANIFEST: Final = "manifest.json"

_NOT_OURS: Final = "node_modules"
_OPTIONS: Final = (
    *("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"),
    "--loglevel=error",
)
_TIMEOUT_S: Final = 300


def folder() -> Path | None:
    """The bundled files; None if they were never made from these sources."""
    made = _folder()
    return made if (made / MANIFEST).exists() else None


def build(npm: Sequence[str], out: Path | None = None) -> Path:
    """Bundles the page into `out`, or to where `folder` finds it.

    Raises:
        FileNotFoundError: there is no such npm, or no Node.
        subprocess.SubprocessError: a step failed, or took more than five minutes.
    """
    made = out or _folder()
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{made.name}-", dir=made.parent) as name:
        work = Path(name) / "page"
        shutil.copytree(SOURCES, work, ignore=shutil.ignore_patterns(_NOT_OURS))
        _run([*npm, "ci", *_OPTIONS], work)
        _run(["node", "build.mjs", str(Path(name) / "made")], work)
        shutil.rmtree(made, ignore_errors=True)
        (Path(name) / "made").rename(made)
    return made


def _run(command: Sequence[str], work: Path) -> None:
    subprocess.run(command, cwd=work, check=True, timeout=_TIMEOUT_S, stdout=subprocess.DEVNULL)


def _folder() -> Path:
    """Of these sources: a checkout of another release makes its own."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file() and _NOT_OURS not in path.parts and not path.name.startswith("."):
            digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    return Path(sys.prefix) / "lib" / "marquee" / f"page-{digest.hexdigest()[:16]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Bundles the page unless it is there."""
    parser = argparse.ArgumentParser(prog="python -m edge.page_build", description="Bundles the page.")
    parser.add_argument("--npm", default="npm", help="the words that npm is started with (default: npm)")
    given = parser.parse_args(argv)
    if folder() is not None:
        return 0
    try:
        build(shlex.split(given.npm))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"edge.page_build: the page can't be bundled: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
