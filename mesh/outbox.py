"""The outbox: what transactions tell other services, handed to Kafka after the commit, at least once.

A transaction puts rows into the table `outbox` of its service and ends with
NOTIFY. Of all relays one at a time has its turn (`mesh.turns`): it reads the
oldest rows, sends them, and deletes those that the log has. So a change that
commits late, with a lower number than others that went before, is still found.
Nothing is locked in the database while Kafka is waited for.

Rows are read and deleted by the session that is the turn. A relay that lost it,
since it was frozen or cut off, notices at its next statement and deletes
nothing. What it had read it may still send: where the order of events matters,
the sink must refuse that (`mesh.kafka.fenced`); where each event counts once,
in whatever order, readers pass over the second copy.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import asyncpg
from prometheus_client import Counter, Gauge, Histogram

from mesh import clock, spans
from mesh.errors import MarqueeError
from mesh.postgres import Postgres
from mesh.turns import Held, Turns

log = logging.getLogger(__name__)

# Nobody counts on for the sake of a graph.
_COUNTED: Final = 1_000_000
COUNT: Final = f"SELECT count(*)::int FROM (SELECT FROM outbox LIMIT {_COUNTED}) AS counted"  # noqa: S608
"""How many rows wait; counts to a million."""

_TASK: Final = "relay"
_PAUSE_S: Final = 0.5
_REST_S: Final = 1.0
_LOOK_S: Final = 5.0


class Message(NamedTuple):
    """A row of the outbox, as it goes out."""

    number: int
    """The row's, in the order in which rows were written."""
    key: bytes
    value: bytes
    asked_us: int | None = None
    """When what it tells of was asked for, in microseconds since 1970."""
    trace: str = ""
    """The `traceparent` of what wrote it, if that was sampled."""


@dataclass(frozen=True)
class Outbox:
    """A service's table `outbox`, and where its rows go. Texts of SQL are the code's own."""

    topic: str
    channel: str
    """On which NOTIFY says that rows have come."""
    number: str
    """The column with the row's number, the primary key."""
    columns: str
    """The others, as `message` reads them behind the number."""
    since: str
    """The column with the time from which a row's age counts."""
    message: Callable[[asyncpg.Record], Message]
    newest_only: bool = False
    """Whether the newest row of a key stands for those before it, as in a compacted topic."""

    @property
    def read(self) -> str:
        """The oldest $1 rows."""
        return f"SELECT {self.number}, {self.columns} FROM outbox ORDER BY {self.number} LIMIT $1"  # noqa: S608

    @property
    def delete(self) -> str:
        """Forgets the rows of these numbers."""
        return f"DELETE FROM outbox WHERE {self.number} = ANY ($1::bigint[])"  # noqa: S608

    @property
    def state(self) -> str:
        """How many rows wait, at most a million, and for how long the oldest has, in seconds."""
        return f"""
            SELECT count(*)::int, extract(epoch FROM clock_timestamp() - min(since))::float8
            FROM (SELECT {self.since} AS since FROM outbox ORDER BY {self.number} LIMIT {_COUNTED})
                AS waiting"""  # noqa: S608


class Sink(Protocol):
    """Where messages go: a producer."""

    async def send_all(
        self, topic: str, messages: Sequence[tuple[bytes, bytes]], traces: Sequence[str] = ()
    ) -> Sequence[bool]:
        """Sends (key, value)s; returns of each whether the log has it.

        `traces` are their `traceparent`s, empty where there is none.

        Raises:
            MarqueeError: UNAVAILABLE, of none it is known.
        """


@dataclass(frozen=True)
class Meters:
    """What a relay measures."""

    active: Gauge
    published: Counter
    published_after: Histogram | None = None
    """By `Message.asked_us`, in seconds."""


class Relay:
    """One of several relays of a service, of which one at a time has its turn."""

    def __init__(
        self,
        outbox: Outbox,
        turns: Turns,
        begin: Callable[[], AbstractAsyncContextManager[Sink]],
        meters: Meters,
        batch: int = 1000,
        poll_s: float = 1.0,
    ) -> None:
        """Args:
        begin: the sink for one turn.
        batch: rows sent at once, at most.
        poll_s: how often the table is looked at without being woken, in seconds.
        """
        self._outbox = outbox
        self._turns = turns
        self._begin = begin
        self._meters = meters
        self._batch = batch
        self._poll_s = poll_s

    async def run(self) -> None:
        """Waits for its turn, then sends what comes; again and again, forever."""
        while True:
            try:
                async with self._turns.take(_TASK) as held:
                    if held is not None:
                        await self._lead(held)
            except MarqueeError as error:
                log.warning("the outbox waits: %s", error)
            await asyncio.sleep(_REST_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _lead(self, held: Held) -> None:
        async with self._begin() as sink:
            log.info("this relay has its turn")
            self._meters.active.set(1)
            try:
                woken = await held.listen(self._outbox.channel)
                while True:
                    woken.clear()
                    rows = await held.fetch(self._outbox.read, self._batch)
                    done = await self._send(sink, [self._outbox.message(row) for row in rows])
                    if done:
                        await held.execute(self._outbox.delete, done)
                    if len(done) < len(rows):
                        await held.rest(_PAUSE_S)
                    elif len(rows) < self._batch:
                        await held.rest(self._poll_s, woken)
            finally:
                self._meters.active.set(0)

    async def _send(self, sink: Sink, messages: Sequence[Message]) -> list[int]:
        """Sends messages; returns the numbers of the rows that have been told by that."""
        if not messages:
            return []
        newest = {m.key: m.number for m in messages} if self._outbox.newest_only else {}
        sent = [m for m in messages if newest.get(m.key, m.number) == m.number]
        with spans.forwarding(self._outbox.topic, [m.trace for m in sent]) as traces:
            taken = await sink.send_all(self._outbox.topic, [(m.key, m.value) for m in sent], traces)
        there = [m for m, is_there in zip(sent, taken, strict=True) if is_there]
        self._meters.published.inc(len(there))
        if self._meters.published_after is not None:
            now = clock.now_us()
            for m in there:
                if m.asked_us is not None:
                    self._meters.published_after.observe(max(0, now - m.asked_us) / 1e6)
        numbers = {m.number for m in there}
        return [m.number for m in messages if newest.get(m.key, m.number) in numbers]


class OutboxWatch:
    """Looks into an outbox, also while the relay hangs or another has its turn."""

    def __init__(
        self, outbox: Outbox, postgres: Postgres, pending: Gauge, age: Gauge, interval_s: float = _LOOK_S
    ) -> None:
        """Args:
        pending: how many rows wait.
        age: for how long the oldest has waited, in seconds.
        """
        self._outbox = outbox
        self._postgres = postgres
        self._pending = pending
        self._age = age
        self._interval_s = interval_s
        self._since: float | None = None

    async def run(self) -> None:
        """Looks forever. While the database is away, what was seen last grows older."""
        self._age.set_function(self._age_s)
        while True:
            try:
                waiting, age_s = await self.state()
            except MarqueeError as error:
                log.info("the outbox can't be seen: %s", error)
            else:
                self._pending.set(waiting)
                self._since = clock.now() - age_s if waiting else None
            await asyncio.sleep(self._interval_s)

    async def state(self) -> tuple[int, float]:
        """How many rows wait (counts to a million), and for how long the oldest has, in seconds.

        Raises:
            MarqueeError: UNAVAILABLE, no database answers.
        """
        row = await self._postgres.fetchrow(self._outbox.state, fresh=True)
        assert row is not None
        return row[0], max(row[1] or 0.0, 0.0)

    def _age_s(self) -> float:
        since = self._since
        return 0.0 if since is None else max(clock.now() - since, 0.0)
