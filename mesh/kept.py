"""Connections that are kept between statements.

asyncpg's pool makes a task, a proxy and two futures each time it lends a connection, which costs this process
as much as a short statement does. So for single statements a few of its connections are kept out of it; after
a while without use, and after many uses, they go back, and the pool does with them as it does with others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from prometheus_client import Gauge

T = TypeVar("T")

if TYPE_CHECKING:  # asyncpg's classes take type parameters in its stubs only
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy

CONNECTIONS: Final = Gauge(
    "marquee_postgres_pool_connections",
    "Connections of this process to a database, by state: used, idle. All of MARQUEE_PG_POOL used for long, "
    "with others waiting: look for slow statements before making the pool larger.",
    ("server", "state"),
)
LIMIT: Final = Gauge(
    "marquee_postgres_pool_limit_connections",
    "Connections that this process may have to a database at most: MARQUEE_PG_POOL.",
    ("server",),
)
WAITING: Final = Gauge(
    "marquee_postgres_pool_waiting",
    "Calls of this process that wait for a connection to a database. Above zero for long: statements are "
    "slow, or the database does not answer.",
    ("server",),
)

_SHARE: Final = 4
"""Of so many connections that a pool may have, one may be kept: whoever needs a transaction finds others."""
_IDLE_S: Final = 30.0
_USES: Final = 10_000
_LOOK_S: Final = 10.0


@dataclass(slots=True)
class _Held:
    connection: Connection
    uses: int = 0
    last: float = 0.0
    """When it was used last, by the monotonic clock."""


class Kept:
    """Some connections of one pool."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", size: int) -> None:
        """`size` is how many connections the pool may have."""
        self._pool = pool
        self._most = size // _SHARE
        self._free: list[_Held] = []

    @property
    def free(self) -> int:
        """How many the pool believes to be in use that are not."""
        return len(self._free)

    async def use(self, ask: Callable[[Connection], Awaitable[T]]) -> T:
        """What `ask` returns, or raises, with a connection: one statement, and no transaction."""
        held = await self._take()
        answered = False
        try:
            answer = await ask(held.connection)
            answered = True
            return answer
        finally:
            # One that is in the middle of something is the pool's to set right.
            held.uses += 1
            if answered and held.uses < _USES and len(self._free) < self._most:
                held.last = time.monotonic()
                self._free.append(held)
            else:
                await self._pool.release(held.connection)

    async def _take(self) -> _Held:
        while self._free:
            held = self._free.pop()
            if _is_open(held.connection):
                return held
            await self._pool.release(held.connection)
        return _Held(await self._pool.acquire())

    async def watch(self) -> None:
        """Gives those back that nobody uses, forever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.give_back(_IDLE_S)

    async def give_back(self, idle_s: float = 0.0) -> None:
        """Gives those back that were not used for so long."""
        due = time.monotonic() - idle_s
        idle = [held for held in self._free if held.last <= due]
        self._free = [held for held in self._free if held.last > due]
        for held in idle:
            await self._pool.release(held.connection)

    async def close(self) -> None:
        """Gives all back; those that are in use go back after it."""
        self._most = 0
        await self.give_back()


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it away, since the server had closed it
        return False


def export(label: str, pool: "asyncpg.Pool[asyncpg.Record]", kept: Kept) -> None:
    """Asked at each scrape, in its thread: none of this moves anything."""
    LIMIT.labels(label).set(pool.get_max_size())
    CONNECTIONS.labels(label, "used").set_function(lambda: pool.get_size() - _idle(pool, kept))
    CONNECTIONS.labels(label, "idle").set_function(lambda: _idle(pool, kept))
    WAITING.labels(label).set_function(lambda: _waiting(pool))


def _idle(pool: "asyncpg.Pool[asyncpg.Record]", kept: Kept) -> int:
    return pool.get_idle_size() + kept.free


def _waiting(pool: "asyncpg.Pool[asyncpg.Record]") -> int:
    # asyncpg does not tell it otherwise. There is no queue before the pool is first used.
    queue: Any = getattr(pool, "_queue", None)
    return len(queue._getters) if queue is not None else 0
