"""`marquee logs`: what the processes wrote, readable, and as it comes."""

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from local.stack.layout import Home, StackError

_POLL_S: Final = 0.2


def names(home: Home) -> list[str]:
    """Whose logs there are."""
    return sorted(path.stem for path in home.logs.glob("*.log"))


def last(home: Home, chosen: Sequence[str], count: int, *, raw: bool) -> Iterator[str]:
    """The last `count` lines of each of these logs.

    Raises:
        StackError: there is no log of that name.
    """
    for name in chosen:
        with _open(home, name).open(errors="replace") as file:
            for line in deque(file, count):
                yield _prefixed(name, line, chosen, raw=raw)


class Follower:
    """Reads lines as they are written, from when it was made."""

    def __init__(self, home: Home, chosen: Sequence[str], *, raw: bool) -> None:
        """Opens the logs of these names.

        Raises:
            StackError: there is no log of one of these names.
        """
        self._home = home
        self._chosen = chosen
        self._raw = raw
        opened = {name: _open(home, name).stat() for name in chosen}
        # Which file a log was, and how much of it was read.
        self._ends = {name: (each.st_ino, each.st_size) for name, each in opened.items()}

    def lines(self) -> list[str]:
        """The whole lines that were written since the last call."""
        found: list[str] = []
        for name, (file, end) in self._ends.items():
            path = self._home.log(name)
            if not path.exists():  # it is being begun again
                continue
            now, before = path.stat(), b""
            if now.st_ino != file:  # begun again: what came before that stands in the older file
                before, end = _from(path.with_suffix(".log.1"), end), 0
            elif now.st_size < end:
                end = 0
            text = _from(path, end)
            whole = text.rfind(b"\n") + 1
            self._ends[name] = now.st_ino, end + whole
            lines = (before + text[:whole]).decode(errors="replace").splitlines()
            found += [_prefixed(name, line, self._chosen, raw=self._raw) for line in lines]
        return found

    def __iter__(self) -> Iterator[str]:
        """Lines forever."""
        while True:
            found = self.lines()
            yield from found
            if not found:
                time.sleep(_POLL_S)


def readable(line: str) -> str:
    """A JSON line in the Elastic Common Schema as `time LEVEL logger: message`; any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        record = json.loads(line)
        text = f"{record['@timestamp'][11:23]} {record['log.level'].upper():7} {record['message']}"
    except (ValueError, KeyError, TypeError):
        return line
    error = record.get("error")
    if not error:
        return text
    trace = str(error.get("stack_trace", "")).rstrip()
    return f"{text}\n{trace}\n{error.get('type')}: {error.get('message')}"


def _prefixed(name: str, line: str, chosen: Sequence[str], *, raw: bool) -> str:
    text = line.rstrip("\n") if raw else readable(line.rstrip("\n"))
    return text if len(chosen) == 1 else f"{name:22} {text}"


def _from(path: Path, start: int) -> bytes:
    """What a file holds from there on; nothing if it is shorter, or gone."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def _open(home: Home, name: str) -> Path:
    path = home.log(name)
    if not path.exists():
        raise StackError(f"there is no log of {name!r}: there are {', '.join(names(home)) or 'none yet'}")
    return path
