"""What is asked for at the same time is fetched together.

The busier it gets the larger the batches: while as many as allowed are under
way, the rest collects.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

Work = Callable[[list[int]], Coroutine[Any, Any, None]]


class Batches:
    """Hands numbers in batches to `work`, which must not raise."""

    def __init__(self, work: Work, *, at_once: int, largest: int) -> None:
        self._work = work
        self._at_once = at_once
        self._largest = largest
        self._waiting: list[int] = []
        self._scheduled = False
        self._running: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> Iterable["asyncio.Task[None]"]:
        return self._running

    def add(self, numbers: Iterable[int]) -> None:
        """Adds numbers; they go when this turn of the event loop is over and there is room."""
        self._waiting += numbers
        if self._waiting and not self._scheduled and len(self._running) < self._at_once:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._running) < self._at_once:
            batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            task = asyncio.get_running_loop().create_task(self._work(batch))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._go()
