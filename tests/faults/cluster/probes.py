"""What users notice while a part is lost: for how long nothing was read, acknowledged or stored."""

import asyncio
import contextlib
import itertools
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from edge import tokens
from local.commands.http1 import Client
from local.stack.layout import HOST, Stack
from mesh import dial
from tests.faults.rating_svc.authors import Journal
from tests.support.repeating import repeatedly

_EVERY_S = 0.1
_PATIENCE_S = 6.0
_AT_ONCE = 3


@dataclass
class Series:
    """Calls of one kind: those that succeeded, by the moment (monotonic) they did."""

    good: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    """Those that failed, by what came in place of an answer."""

    @property
    def failed(self) -> int:
        return self.errors.total()

    def pause(self, begin: float, end: float) -> float:
        """The longest time between two successes, as far as it lies between `begin` and `end`, in seconds."""
        marks = [begin, *(at for at in self.good if begin < at < end), end]
        return max(after - before for before, after in itertools.pairwise(marks))


class Watcher:
    """Reads, and looks at the database, all the time. The writes are those of the authors of a journal."""

    def __init__(self, stack: Stack, movies: Sequence[str], journal: Journal) -> None:
        self._stack = stack
        self._movies = movies
        self._journal = journal
        self._reads, self._stored_at = Series(), Series()

    def series(self) -> dict[str, Series]:
        """What came of it so far, by kind: reads, writes, stored."""
        # Authors who don't wait for an answer fail by themselves: only answers count as failures here.
        errors = {
            what: count for what, count in self._journal.errors.items() if re.match(r"write (429|5..) ", what)
        }
        writes = Series(self._journal.acknowledged_at, Counter(errors))
        return {"reads": self._reads, "writes": writes, "stored": self._stored_at}

    def watching(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Reads and looks until the block ends."""
        calls = [self._read, self._read_own, self._score] * _AT_ONCE
        callers = [self._caller(call, number) for number, call in enumerate(calls)]
        return repeatedly(*callers, self._looker(), pause_s=_EVERY_S)

    def _caller(
        self, call: Callable[[Client, str, int], Awaitable[int]], number: int
    ) -> Callable[[], Awaitable[None]]:
        """Somebody with a connection and a name of their own, who makes one such call each time."""
        token = tokens.issue(self._stack.home.tokens, f"watcher{number}", (), 24 * 3600, "partner")
        headers = f"Authorization: Bearer {token}\r\ncache-control: no-cache\r\n"
        client, counter = Client(HOST, self._stack.port("envoy", "edge")), itertools.count(number)

        async def once() -> None:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    status = await call(client, headers, next(counter))
                error = "" if status == 200 else str(status)
            except (OSError, TimeoutError) as failed:
                error = type(failed).__name__
            if error:
                self._reads.errors[f"{call.__name__.strip('_')} {error}"] += 1
            else:
                self._reads.good.append(time.monotonic())

        return once

    async def _read(self, client: Client, headers: str, count: int) -> int:
        movie = self._movies[count % len(self._movies)]
        return (await client.request("GET", f"/v1/movies/{movie}", headers)).status

    async def _read_own(self, client: Client, headers: str, _count: int) -> int:
        return (await client.request("GET", "/v1/users/me/ratings?pageSize=5", headers)).status

    async def _score(self, client: Client, headers: str, count: int) -> int:
        movie = self._movies[count % len(self._movies)]
        status = (await client.request("GET", f"/v1/movies/{movie}/score", headers)).status
        return 200 if status == 404 else status  # nobody has rated it yet

    def _looker(self) -> Callable[[], Awaitable[None]]:
        """Looks whether the workers come on: the database says up to where the log is stored."""
        connection: asyncpg.Connection | None = None
        last = None

        async def once() -> None:
            nonlocal connection, last
            try:
                async with asyncio.timeout(2):
                    if connection is None or connection.is_closed():
                        connection = await dial.connect(self._stack.dsn("rating_svc"), timeout=2)
                    now = await connection.fetchval("SELECT sum(next_offset) FROM kafka_offsets")
                    if now != last:
                        self._stored_at.good.append(time.monotonic())
                    last = now
            except Exception:  # whatever the server or its proxy says while it goes
                if connection is not None:
                    connection.terminate()
                connection = None

        return once
