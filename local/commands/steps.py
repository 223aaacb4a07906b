"""How far a known number of steps has come: a bar in a terminal, else a line now and then."""

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LINE_EVERY_S: Final = 5.0


class _Lines:
    """Progress for logs and pipes: a line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Callable[[int], None]:
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._say(time.monotonic())

    def _advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said > _LINE_EVERY_S:
            self._say(now)

    def _say(self, now: float) -> None:
        self._said = now
        rate = self._done / (now - self._began)
        print(f"   {self._done:,} of {self._total:,}, {rate:,.0f} a second", flush=True)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} a second")


class _Bar:
    """Progress for terminals."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("  "),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("ratings", total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda count: self._progress.advance(self._task, count)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def progress(console: Console, total: int) -> _Lines | _Bar:
    """Shows how far `total` steps have come; inside it, the function that it yields counts them."""
    return _Bar(console, total) if console.is_terminal else _Lines(total)
