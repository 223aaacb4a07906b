"""Writes docs/decisions/README.md, the index of decisions: `python scripts/decisions.py`."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "decisions"
PAGE: Final = FOLDER / "README.md"
PARTS: Final = ("Context", "Decision", "Consequences")
# The first number of each range, and what it is about (decision 1).
RANGES: Final = {
    1: "The chassis and the repository",
    10: "Ratings",
    20: "The edge",
    30: "Rankings",
    36: "Ratings, further",
    40: "Movies",
    50: "The chassis, further",
    60: "Written by hand though a library exists",
    74: "Kubernetes",
    80: "Further decisions",
    90: "What people see and hold",
    95: "Speed",
    100: "Delivery",
}
HEAD: Final = """# Decisions

Why Marquee is as it is. Each file has its context, what was decided, and what that costs; see
[decision 1](0001-decisions-are-numbered-files.md). `make docs` makes this page from the files.
"""
_STATUS_RE: Final = re.compile(r"accepted|superseded by \[\d+\]\(\d{4}-[a-z0-9-]+\.md\)")


class DecisionError(ValueError):
    """A file lacks a part that decisions have."""


@dataclass(frozen=True)
class Decision:
    """One file."""

    number: int
    file: str
    title: str
    status: str


def read(path: Path) -> Decision:
    """Reads one file.

    Raises:
        DecisionError: it has no number, title or status, or not each of the three parts once and in order.
    """
    text = path.read_text()
    name = re.fullmatch(r"(\d{4})-[a-z0-9-]+\.md", path.name)
    head = re.match(r"# (\d+)\. (\S.*)\n\n\*\*Status:\*\* (.+)\n", text)
    if name is None or head is None:
        raise DecisionError(f"{path.name} does not begin with `# N. Title` and `**Status:** …`")
    if int(name[1]) != int(head[1]):
        raise DecisionError(f"{path.name} has the number {head[1]} in its title")
    if _STATUS_RE.fullmatch(head[3]) is None:
        raise DecisionError(f"{path.name} is {head[3]!r}: use `accepted` or `superseded by [N](file)`")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if parts != list(PARTS):
        raise DecisionError(f"{path.name} has the parts {parts}, not {list(PARTS)}")
    return Decision(int(head[1]), path.name, head[2], head[3])


def read_all() -> list[Decision]:
    """Reads all files, by number.

    Raises:
        DecisionError: see `read`; or two files have one number.
    """
    found = [read(path) for path in sorted(FOLDER.glob("*.md")) if path != PAGE]
    numbers = [decision.number for decision in found]
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise DecisionError(f"two decisions have the number {twice[0]}")
    return found


def render() -> str:
    """The whole page."""
    decisions = read_all()
    parts = [HEAD]
    bounds = [*RANGES, 10_000]
    for first, end in pairwise(bounds):
        rows = [
            f"| {each.number} | [{each.title}]({each.file}) | {each.status} |"
            for each in decisions
            if first <= each.number < end
        ]
        if rows:
            parts.append(
                "\n".join([f"## {RANGES[first]}\n", "| | decision | status |", "|---|---|---|", *rows]) + "\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
