"""Pages that tell operators what to type: the commands of their blocks of `sh`, by heading."""

import re
from pathlib import Path
from typing import Final

from local.stack.layout import checkout

_BLOCK_RE: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING_RE: Final = re.compile(r"^## (.+)$", re.MULTILINE)


def commands(page: Path) -> dict[str, list[str]]:
    """The blocks below each heading of a page, in its order; headings without any are left out."""
    _, *parts = _HEADING_RE.split((checkout() / page).read_text())
    found = {heading: _BLOCK_RE.findall(text) for heading, text in zip(parts[::2], parts[1::2], strict=True)}
    return {heading: blocks for heading, blocks in found.items() if blocks}
