"""Files that people bring, line by line: what can't be read is told with its reason, and the rest goes on."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

PASSED_OVER_CODE: Final = 3
"""The exit code of a command that did its work, except for lines that it could not read."""

_MOST_TOLD: Final = 100
_SHOWN_CHARS: Final = 80
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class TableError(ValueError):
    """A file is not the table that was asked for; none of it was read."""


class PassedOver:
    """The lines that can't be read: counted, and the first hundred of them told."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.count = 0

    def add(self, file: Path, line: int, reason: str) -> None:
        """Passes over a line, counted from 1."""
        self.count += 1
        if self.count <= _MOST_TOLD:
            self._tell(f"{file.name}, line {line}: {reason}")
        elif self.count == _MOST_TOLD + 1:
            self._tell("more lines can't be read; from here on they are only counted")


def rows(path: Path, columns: Sequence[str], passed: PassedOver) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file in UTF-8 whose first line names the columns, each with its number.

    Each record is one line. Values are stripped of spaces around them; a byte
    order mark and empty lines don't count.

    Raises:
        OSError: the file can't be read.
        TableError: there is no such first line, or it lacks some of `columns`.
    """
    head: list[str] = []
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith(_UTF16):
                raise TableError(f"{path.name} is in UTF-16: save it as UTF-8")
            try:
                cells = _cells(raw)
            except ValueError as error:
                if not head:
                    raise TableError(f"{path.name}, line {number}: {error}") from None
                passed.add(path, number, str(error))
                continue
            if not any(cells):
                continue
            if not head:
                head = cells
                _require(path, head, columns)
            elif len(cells) != len(head):
                passed.add(path, number, f"it has {len(cells)} columns, not {len(head)}")
            else:
                yield number, dict(zip(head, cells, strict=True))
    if not head:
        raise TableError(f"{path.name} is empty")


def _cells(raw: bytes) -> list[str]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start + 1}") from None
    try:
        found = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"it is not CSV: {error}") from None
    return [cell.strip() for cell in found]


def _require(path: Path, head: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in head]
    if missing:
        shown = ",".join(head)[:_SHOWN_CHARS]
        raise TableError(f"{path.name} has no column {', '.join(missing)}: its first line is {shown!r}")
