"""The page's bundle: what is in `page/` with Perses' components, made once by npm, kept in the cache."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from edge import npm
from local.stack.child import run_tool
from local.stack.layout import cache_folder

_PAGE: Final = Path(__file__).parent / "page"


class BundleError(RuntimeError):
    """The page can't be made here; the log says what failed."""


def folder() -> Path:
    """Where this checkout's bundle is, or will be."""
    return cache_folder() / f"dash-{npm.digest(npm.sources(_PAGE), _PAGE)}"


async def make(log: IO[bytes]) -> None:
    """Makes the bundle unless it is there: some three minutes, 550 MB of disk meanwhile.

    Raises:
        BundleError: a tool or a package can't be had.
    """
    if await run_tool([sys.executable, "-m", "local.dash.bundle"], log):
        raise BundleError("the page of dashboards can't be bundled, for the reason above")


def main() -> int:
    """Makes it, in a process of its own: the supervisor ends that, and goes on meanwhile."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # npm ends too, and its folder is deleted
    try:
        npm.bundle(_PAGE, folder(), lambda _: npm.find(cache_folder()))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"local.dash.bundle: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
