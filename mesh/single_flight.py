"""Single flight: who asks for the same thing at the same time gets the same answer."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from mesh.tasks import retrieved

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs one task a key at a time."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    async def join(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """The result of the key's task, made by `start` if there is none. It goes on when a caller leaves.

        Raises:
            TimeoutError: it did not come within `timeout_s`.
        """
        return await asyncio.wait_for(asyncio.shield(self.start(key, start)), timeout_s)

    def start(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        """The key's task, which `start` makes if there is none."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(start())
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        del self._tasks[key]
        retrieved(task)
