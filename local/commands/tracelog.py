"""`marquee logs --trace`: what all processes wrote of one call, from their files: no index is needed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.commands.logview import readable
from local.stack.layout import Home, StackError


@dataclass(frozen=True, order=True)
class Line:
    """One line of one process."""

    time: str
    service: str
    text: str
    """As it was written."""

    def __str__(self) -> str:
        return f"{self.service:22} {readable(self.text)}"


def find(home: Home, identity: str) -> list[Line]:
    """The lines of a call by its trace's id or its request's id, in the order in which they were written.

    Raises:
        StackError: this is no such id.
    """
    wanted = identity.strip()
    if len(wanted) < 8 or not wanted.isascii() or '"' in wanted:
        raise StackError(f"{identity!r} is no id of a trace or of a request")
    found = [line for path in _files(home) for line in _of(path, wanted)]
    return sorted(found)


def _files(home: Home) -> list[Path]:
    """The logs, and the older part of those that were begun again."""
    return sorted(home.logs.glob("*.log.1")) + sorted(home.logs.glob("*.log"))


def _of(path: Path, wanted: str) -> Iterator[Line]:
    needle = wanted.encode()
    with path.open("rb") as file:
        for raw in file:
            if needle not in raw or not raw.startswith(b"{"):
                continue
            try:
                record: dict[str, Any] = json.loads(raw)
            except ValueError:
                continue  # it is being written
            if wanted in ids(record):
                service = _field(record, "service", "name") or path.name.partition(".")[0]
                yield Line(str(record.get("@timestamp", "")), service, raw.decode(errors="replace").rstrip())


def ids(record: dict[str, Any]) -> set[str]:
    """By what a line can be found: the ids of its trace and of its request."""
    given = {_field(record, "trace", "id"), _field(record, "http", "request", "id")}
    return given - {""}


def _field(record: dict[str, Any], *names: str) -> str:
    value: Any = record
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
