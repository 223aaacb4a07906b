"""Reads that don't wait long for a slow replica: the primary is asked too, and the first answer counts.

A server that hangs keeps its connections open and says nothing. It takes
seconds until it is left out (`mesh.postgres`); readers must not wait for that.
See Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg
from prometheus_client import Counter

from mesh.postgres import Postgres
from mesh.tasks import retrieved

T = TypeVar("T")

# Far over what a healthy server takes, so that a busy one is not asked twice.
_HEDGE_S: Final = 0.5
# For how long the primary is asked first after it had to stand in.
_AVOID_S: Final = 5.0


class HedgedReads:
    """Queries that only read; see `mesh.postgres.Postgres` for what they raise."""

    def __init__(self, postgres: Postgres, hedged: Counter, hedge_s: float = _HEDGE_S) -> None:
        """`hedged` counts the reads for which a second server was asked."""
        self._pg = postgres
        self._hedged = hedged
        self._hedge_s = hedge_s
        self._avoid_until = 0.0

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]:
        return await self._first(lambda fresh: self._pg.fetch(query, *args, fresh=fresh), fresh)

    async def fetchrow(self, query: str, *args: Any, fresh: bool = False) -> asyncpg.Record | None:
        return await self._first(lambda fresh: self._pg.fetchrow(query, *args, fresh=fresh), fresh)

    async def fetchval(self, query: str, *args: Any, fresh: bool = False) -> Any:
        return await self._first(lambda fresh: self._pg.fetchval(query, *args, fresh=fresh), fresh)

    async def _first(self, ask: Callable[[bool], Awaitable[T]], fresh: bool) -> T:
        """The first answer of a replica and, if that is slow, of the primary; `fresh`: the other way round.

        Neither is cancelled: asyncpg would wait for the server to confirm that.
        """
        fresh = fresh or time.monotonic() < self._avoid_until
        first = asyncio.ensure_future(ask(fresh))
        done, _ = await asyncio.wait((first,), timeout=self._hedge_s)
        if done:
            return first.result()
        self._hedged.inc()
        second = asyncio.ensure_future(ask(not fresh))
        for question in (first, second):
            question.add_done_callback(retrieved)
        done, pending = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
        if pending and all(question.exception() for question in done):
            done, _ = await asyncio.wait(pending)
        if not fresh and not first.done():
            self._avoid_until = time.monotonic() + _AVOID_S
        return next((q for q in done if q.exception() is None), first if first.done() else second).result()
