"""What is asked for at the same time is asked for together."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Turn(Generic[K]):
    """Hands `work` in one task what was added within one turn of the event loop.

    Args:
        work: must not raise.
        largest: keys that one task gets, at most; more go to several.
    """

    def __init__(self, work: Callable[[list[K]], Coroutine[Any, Any, None]], *, largest: int) -> None:
        self._work = work
        self._largest = largest
        self._added: list[K] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, key: K) -> None:
        """Adds a key; it goes when this turn is over."""
        if not self._added:
            asyncio.get_running_loop().call_soon(self._go)
        self._added.append(key)

    async def settled(self) -> None:
        """Waits until nothing is left to do."""
        while self._added or self._tasks:
            await asyncio.sleep(0)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _go(self) -> None:
        added, self._added = self._added, []
        for start in range(0, len(added), self._largest):
            portion = added[start : start + self._largest]
            task = asyncio.get_running_loop().create_task(self._work(portion))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


class Batches(Generic[K, T]):
    """Calls `read` in batches: what is loaded within one turn of the event loop, and all that comes while
    one is under way.

    So the busier it gets, the larger the batches. Who is slow holds up nobody for long: once the newest batch
    has been under way for a while, the next one does not wait for it.

    Args:
        at_once: batches under way, at most.
        largest: keys of a batch, at most; more only if one caller loads more.
        alone_s: for how long a batch is alone, in seconds.
    """

    def __init__(
        self,
        read: Callable[[list[K]], Coroutine[Any, Any, T]],
        *,
        at_once: int,
        largest: int,
        alone_s: float = 0.0,
    ) -> None:
        self._read = read
        self._room = at_once
        self._largest = largest
        self._alone_s = alone_s
        self._going = False
        self._alone: asyncio.TimerHandle | None = None
        """Set while the newest batch is under way and has to be alone."""
        self._waiting: deque[tuple[list[K], asyncio.Future[T]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, keys: list[K]) -> T:
        """What `read` returns, or raises, for a batch that has these keys in it, and maybe others."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[T] = loop.create_future()
        self._waiting.append((keys, loaded))
        if not self._going and self._may_go:
            self._going = True
            loop.call_soon(self._go)
        return await loaded

    @property
    def _may_go(self) -> bool:
        return self._room > 0 and self._alone is None

    def _go(self) -> None:
        self._going = False
        loop = asyncio.get_running_loop()
        while self._waiting and self._may_go:
            self._room -= 1
            if self._alone_s:
                self._alone = loop.call_later(self._alone_s, self._end_of_alone)
            task = loop.create_task(self._load_waiting(*self._next(), self._alone))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _end_of_alone(self) -> None:
        self._alone = None
        self._go()

    async def _load_waiting(
        self, keys: list[K], loads: "Sequence[asyncio.Future[T]]", alone: asyncio.TimerHandle | None
    ) -> None:
        try:
            found = await self._read(keys)
        except Exception as error:
            for load in loads:
                if not load.done():
                    load.set_exception(error)
        else:
            for load in loads:
                if not load.done():
                    load.set_result(found)
        finally:
            self._room += 1
            if alone is not None and alone is self._alone:
                alone.cancel()
                self._alone = None
            self._go()

    def _next(self) -> "tuple[list[K], list[asyncio.Future[T]]]":
        keys: list[K] = []
        loads: list[asyncio.Future[T]] = []
        while self._waiting and (not loads or len(keys) + len(self._waiting[0][0]) <= self._largest):
            more, load = self._waiting.popleft()
            keys += more
            loads.append(load)
        return keys, loads
