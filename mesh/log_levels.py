"""Levels of logs that can be changed while processes run: a file that each of them looks at.

A line is `PROCESS=LEVEL`, or `PROCESS:LOGGER=LEVEL` for a part of one; `*` means all processes. `marquee
log-level` writes the file of a local stack; in a cluster it is mounted from a ConfigMap.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LEVELS: Final = ("debug", "info", "warning", "error")

_LOOK_S: Final = 2.0


def parse(text: str) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Levels by process and logger (empty: all of the process's), and the lines that are none."""
    found: dict[tuple[str, str], str] = {}
    wrong = []
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        whose, _, level = line.partition("=")
        process, _, logger = whose.strip().partition(":")
        if process and level.strip() in LEVELS:
            found[process, logger] = level.strip()
        else:
            wrong.append(line)
    return found, wrong


def chosen(levels: Mapping[tuple[str, str], str], process: str) -> dict[str, str]:
    """The levels of one process by logger: what names it comes before what names all."""
    mine = {logger: level for (whose, logger), level in levels.items() if whose == "*"}
    return mine | {logger: level for (whose, logger), level in levels.items() if whose == process}


class Watcher:
    """Keeps a process's levels as the file says; without the file, as the environment said."""

    def __init__(self, process: str, path: Path, usual: str) -> None:
        self._process = process
        self._path = path
        self._usual = usual
        self._seen = ""
        self._set: set[str] = set()

    def start(self) -> None:
        """Looks every two seconds, in a thread that ends with the process."""
        self.look()
        threading.Thread(target=self._watch, name="log levels", daemon=True).start()

    def look(self) -> None:
        """Takes over what the file says now, if that has changed."""
        try:
            text = self._path.read_text()
        except OSError:
            text = ""
        if text == self._seen:
            return
        self._seen = text
        levels, wrong = parse(text)
        mine = chosen(levels, self._process)
        logging.getLogger().setLevel(mine.pop("", self._usual).upper())
        for name in self._set - set(mine):
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in mine.items():
            logging.getLogger(name).setLevel(level.upper())
        self._set = set(mine)
        for line in wrong:
            log.warning("%s: %r is no PROCESS[:LOGGER]=LEVEL", self._path, line)
        log.info("levels of logs are read again: %s", ", ".join(sorted(map(str, mine.items()))) or "as usual")

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(_LOOK_S):
            self.look()
