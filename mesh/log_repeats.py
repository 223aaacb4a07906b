"""A limit on lines that are written again and again: a store that is away must not fill the disk."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST: Final = 10
WITHIN_S: Final = 10.0


@dataclass
class _Place:
    """A place in the code that writes."""

    began: float
    written: int = 0
    kept_back: int = 0


class Repeats(logging.Filter):
    """Lets ten lines of one place in the code through in ten seconds; the next one says how many were not.

    Not of `debug`, which somebody asked for, nor of `unlimited` loggers.
    """

    def __init__(self, unlimited: frozenset[str], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._unlimited = unlimited
        self._clock = clock
        self._places: dict[tuple[str, int, int], _Place] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG or record.name in self._unlimited:
            return True
        now = self._clock()
        key = (record.pathname, record.lineno, record.levelno)
        place = self._places.setdefault(key, _Place(now))
        if now - place.began >= WITHIN_S:
            if place.kept_back:
                record.msg = f"{record.getMessage()} ({place.kept_back} lines like this one were kept back)"
                record.args = ()
            place.began, place.written, place.kept_back = now, 0, 0
        if place.written >= MOST:
            place.kept_back += 1
            return False
        place.written += 1
        return True
