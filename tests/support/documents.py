"""Commands of documents, as a reader would type them."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCK_RE: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str, heading: str) -> list[str]:
    """The blocks of shell commands below a heading of a page, in their order.

    Raises:
        LookupError: there is no such heading, or nothing to type below it.
    """
    text = (ROOT / page).read_text()
    begin = text.find(f"\n## {heading}\n")
    if begin < 0:
        raise LookupError(f"{page} has no heading {heading!r}")
    section = text[begin + 1 :].partition("\n## ")[0]
    if not (found := _BLOCK_RE.findall(section)):
        raise LookupError(f"{page}: nothing to type below {heading!r}")
    return found


def typed(block: str, environment: Mapping[str, str], timeout_s: float) -> str:
    """Types a block of commands into a shell in the checkout; returns what they print.

    Raises:
        AssertionError: one of them failed; with all that was printed.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}"
    return done.stdout
