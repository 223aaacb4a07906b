"""How old what a replica answers may be: measured in time, from the primary's positions in its log.

The difference between two positions says nothing about seconds, and a replica's
own clock says "no lag" when it has lost the primary. So this process remembers
when the primary stood where. What it does not know is never zero: while the
primary does not answer, a replica that had everything grows older by the second.

Each server is asked over a connection of its own, with a deadline of its own: a
pool that is full or a server that hangs delays no other measurement.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from prometheus_client import Gauge

from mesh import clock, dial

log = logging.getLogger(__name__)

REPLICA_LAG: Final = Gauge(
    "marquee_postgres_replica_lag_seconds",
    "How old what a replica answers may be, in seconds; NaN while it is down. "
    "Over MARQUEE_PG_MAX_LAG_S it gets no reads.",
    ("replica",),
)
PRIMARY_UP: Final = Gauge(
    "marquee_postgres_primary_up",
    "1 while the primary answers this process; 0: reads go to replicas, however old, and writes are refused.",
    ("server",),
)

TIMELINE: Final = Gauge(
    "marquee_postgres_timeline",
    "Which history the primary writes. Grows by one at each failover: see what became of the server before.",
    ("server",),
)

_SAMPLES: Final = 240
_DEADLINE_S: Final = 1.0
# Without replicas only the clock is of interest.
_ALONE_S: Final = 5.0

_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_STATE: Final = """
SELECT pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
           - '0/0'::pg_lsn AS position,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
       extract(epoch FROM clock_timestamp())::float8 AS clock"""


@dataclass
class Server:
    """One database server as this process sees it."""

    label: str
    dsn: str
    answers: bool = False
    """Whether it answered the last time."""
    position: int = 0
    """Where it stood in the log then."""
    timeline: str = ""
    """Which history it writes; empty for a replica."""
    measured_at: float = -math.inf
    """When that was, by the monotonic clock."""
    lag_s: float | None = None
    """How old its answers might be then, in seconds; None if that is not known."""
    connection: "asyncpg.Connection[asyncpg.Record] | None" = None


@dataclass
class Positions:
    """When the primary stood where in its log: (seconds of the monotonic clock, LSN in bytes)."""

    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def add(self, at: float, position: int) -> None:
        """Takes note of a position. One that is behind the last is of another history: after a failover."""
        if self.samples and position < self.samples[-1][1]:
            self.samples.clear()
        self.samples.append((at, position))

    def age_of(self, position: int, now: float, grace_s: float) -> float | None:
        """How old what stands there may be, in seconds; None if nothing is known.

        That is the time since the first sample that it has not reached. If it
        has reached all of them it is 0, unless the last one is over `grace_s`
        old: then nobody knows what the primary has written since.
        """
        if not self.samples:
            return None
        missing = next((at for at, sampled in self.samples if sampled > position), None)
        if missing is not None:
            return now - missing
        silent = now - self.samples[-1][0]
        return 0.0 if silent <= grace_s else silent


class Lag:
    """The servers of one service, watched."""

    def __init__(
        self,
        primary: Server,
        replicas: Sequence[Server],
        interval_s: float,
        timeout_s: float,
        statements: int,
        *,
        tells_time: bool = True,
    ) -> None:
        """`timeout_s` counts where it is shorter than this module's own; `statements` are kept prepared.

        `tells_time` says whether this process goes by the primary's clock (`mesh.clock`).
        """
        self._tells_time = tells_time
        self.primary = primary
        self.replicas = list(replicas)
        self._interval_s = interval_s if replicas else max(interval_s, _ALONE_S)
        # What happened since the last but one measurement counts as now.
        self._grace_s = 2 * self._interval_s
        self._deadline_s = min(timeout_s, _DEADLINE_S)
        self._statements = statements
        self._positions = Positions()
        primary.answers = True  # until it is known not to

    def age(self, server: Server, now: float | None = None) -> float | None:
        """How old what a replica answers now may be, in seconds; None if that is not known."""
        if not server.answers or server.lag_s is None:
            return None
        silent = (time.monotonic() if now is None else now) - server.measured_at
        # A measurement that is overdue makes nobody younger.
        return server.lag_s if silent <= self._grace_s else server.lag_s + silent

    def _measured(self, server: Server) -> float | None:
        if server.timeline and self.primary.answers and server.timeline != self.primary.timeline:
            return None  # it was promoted, and the primary is another server: a history of its own
        return self._positions.age_of(server.position, server.measured_at, self._grace_s)

    async def watch(self) -> None:
        """Measures forever, each server by itself."""
        servers = [self.primary, *self.replicas]
        await asyncio.gather(*(self._watch(server) for server in servers))

    async def measure(self) -> None:
        """Measures once."""
        await self._measure(self.primary)
        await asyncio.gather(*(self._measure(server) for server in self.replicas))

    async def close(self) -> None:
        for server in (self.primary, *self.replicas):
            self._hang_up(server)

    def suspect(self, server: Server) -> None:
        """Leaves a replica out until it has answered a measurement."""
        if server is not self.primary:
            server.answers = False
            REPLICA_LAG.labels(server.label).set(math.nan)

    async def _watch(self, server: Server) -> None:
        while True:
            await self._measure(server)
            await asyncio.sleep(self._interval_s)

    async def _measure(self, server: Server) -> None:
        answered = server.answers
        try:
            # Not asyncpg's own time-outs: they wait for the server to confirm that it has stopped.
            async with asyncio.timeout(self._deadline_s):
                await self._ask(server)
        except _AWAY as error:
            self._hang_up(server)
            server.answers = False
            if answered:
                log.warning("%s is away: %s: %s", server.label, type(error).__name__, error)
        if server is self.primary:
            PRIMARY_UP.labels(server.label).set(server.answers)
            return
        age = server.lag_s = self._measured(server) if server.answers else None
        REPLICA_LAG.labels(server.label).set(math.nan if age is None else age)
        if server.answers and not answered:
            log.info("%s is there, %s s behind", server.label, "unknown" if age is None else f"{age:.1f}")

    async def _ask(self, server: Server) -> None:
        if server.connection is None or server.connection.is_closed():
            server.connection = await dial.connect(
                server.dsn, timeout=self._deadline_s, statement_cache_size=self._statements
            )
        asked = time.monotonic()
        row = await server.connection.fetchrow(_STATE)
        assert row is not None
        answered = time.monotonic()
        if server is self.primary:
            if row["standby"]:
                raise ConnectionError("it is a replica now")
            # By then it stood there at the latest: a replica that has this is as fresh as the question.
            self._positions.add(asked, int(row["position"]))
            TIMELINE.labels(server.label).set(int(row["timeline"], 16))
            if self._tells_time:
                clock.learn(row["clock"], asked, answered)
        server.position, server.timeline = int(row["position"] or 0), row["timeline"] or ""
        server.measured_at, server.answers = asked, True

    @staticmethod
    def _hang_up(server: Server) -> None:
        connection, server.connection = server.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.terminate()
