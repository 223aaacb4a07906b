"""PostgreSQL: writes go to the primary, reads to a replica that is fresh enough.

How far a replica is behind is measured in time, by remembering when the primary
stood at which position of its log: the difference between two positions says
nothing about seconds, and a replica's own clock says "no lag" when it has lost
the primary. A replica that is down, or further behind than allowed, is left out
until it has caught up; with none left, reads go to the primary.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from prometheus_client import Gauge

from mesh.config import setting
from mesh.errors import MarqueeError, unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

if TYPE_CHECKING:  # asyncpg's classes take type parameters in its stubs only
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy

REPLICA_LAG: Final = Gauge(
    "marquee_postgres_replica_lag_seconds",
    "How old what a replica answers may be, in seconds; NaN while it is down. "
    "Over MARQUEE_PG_MAX_LAG_S it gets no reads.",
    ("replica",),
)

# What a connection raises when the server, or the way to it, is gone, or when the server ends what
# takes too long (mesh.sessions): all of it may be tried again.
GONE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke between two messages of the protocol
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
)
_SAMPLES: Final = 240


@dataclass(frozen=True)
class PostgresConfig:
    """Where the databases are and how they are used."""

    primary: str = setting("MARQUEE_PG_PRIMARY", help="the DSN of the primary", secret=True)
    replicas: tuple[str, ...] = setting(
        "MARQUEE_PG_REPLICAS", (), "the DSNs of the streaming replicas, separated by commas", secret=True
    )
    pool_size: int = setting("MARQUEE_PG_POOL", 8, "connections to each database, at most", low=1, high=1000)
    timeout_s: float = setting(
        "MARQUEE_PG_TIMEOUT_S",
        3.0,
        "how long a statement, or the wait for a connection, may take, in seconds",
    )
    max_lag_s: float = setting(
        "MARQUEE_PG_MAX_LAG_S", 2.0, "how far a replica may be behind and still get reads, in seconds", low=0
    )
    lag_interval_s: float = setting(
        "MARQUEE_PG_LAG_INTERVAL_S", 0.5, "how often lag is measured, in seconds", low=0.05
    )
    statement_cache: int = setting(
        "MARQUEE_PG_STATEMENT_CACHE",
        256,
        "prepared statements kept a connection; 0 behind a PgBouncer in transaction mode that keeps no track "
        "of them (older than 1.21, or max_prepared_statements = 0)",
        low=0,
    )
    session: str = setting(
        "MARQUEE_PG_SESSION",
        "",
        "the DSN of the primary past a pooler in transaction mode, for what needs a session of its own: "
        "migrations, and the relay's turn; empty: MARQUEE_PG_PRIMARY",
        secret=True,
    )

    @property
    def own_session(self) -> str:
        """The DSN for what listens, or holds a lock for longer than a transaction."""
        return self.session or self.primary


@dataclass
class _Node:
    """One database server as this process sees it."""

    label: str
    pool: "asyncpg.Pool[asyncpg.Record]"
    lag_s: float | None = None
    replayed: int = 0


@dataclass
class _Positions:
    """When the primary stood where in its log: (seconds of the monotonic clock, LSN in bytes)."""

    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def age_of(self, lsn: int, now: float) -> float | None:
        """For how long a replica that has replayed up to `lsn` has been out of date, in seconds.

        That is since the first sample that it has not reached; 0 if it has
        reached all of them, None before the first.
        """
        if not self.samples:
            return None
        oldest_missing = next((at for at, position in self.samples if position > lsn), None)
        return 0.0 if oldest_missing is None else now - oldest_missing


class Postgres:
    """The pools of one service. Made by `connect`."""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._primary = _Node("primary", self._pool(config.primary))
        self._replicas = [
            _Node(f"replica-{i}", self._pool(dsn)) for i, dsn in enumerate(config.replicas, start=1)
        ]
        self._positions = _Positions()
        self._turn = 0

    def _pool(self, dsn: str) -> "asyncpg.Pool[asyncpg.Record]":
        return asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=self._config.pool_size,
            timeout=self._config.timeout_s,
            command_timeout=self._config.timeout_s,
            statement_cache_size=self._config.statement_cache,
            max_inactive_connection_lifetime=60,
        )

    async def open(self) -> None:
        """Makes the pools ready. Connects to nothing: a database may come later."""
        for node in [self._primary, *self._replicas]:
            await node.pool
        await self.measure()

    async def close(self) -> None:
        """Closes all connections, within two seconds."""
        for node in [self._primary, *self._replicas]:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(node.pool.close(), 2)

    async def ping(self) -> None:
        """Raises if the primary does not answer. For health."""
        async with self._primary.pool.acquire(timeout=self._config.timeout_s) as connection:
            await connection.execute("SELECT 1")

    async def ping_any(self) -> None:
        """Raises if no database answers that reads could go to. For health."""
        await self.fetchval("SELECT 1")

    @contextlib.asynccontextmanager
    async def write(self, *, timeout: float | None = None) -> AsyncIterator[Connection]:
        """A connection to the primary, in one transaction.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE` if the primary is gone.
        """
        try:
            async with (
                self._primary.pool.acquire(timeout=timeout or self._config.timeout_s) as connection,
                connection.transaction(),
            ):
                yield connection
        except GONE as error:
            raise _away(error) from error

    @contextlib.asynccontextmanager
    async def read(self, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """A connection for reading, in no transaction: from a replica, or with `fresh` the primary.

        For cursors and several statements that must see one server; a single
        statement is better off with `fetch`, which tries the next server.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE` if the server is gone.
        """
        node = self._primary if fresh else self._order()[0]
        try:
            async with node.pool.acquire(timeout=self._config.timeout_s) as connection:
                yield connection
        except GONE as error:
            self._suspect(node)
            raise _away(error) from error

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]:
        """Rows of a query that only reads; see `_anywhere`."""
        return await self._anywhere(lambda pool: pool.fetch(query, *args), fresh)

    async def fetchrow(self, query: str, *args: Any, fresh: bool = False) -> asyncpg.Record | None:
        """The first row of a query that only reads; see `_anywhere`."""
        return await self._anywhere(lambda pool: pool.fetchrow(query, *args), fresh)

    async def fetchval(self, query: str, *args: Any, fresh: bool = False) -> Any:
        """The first value of a query that only reads; see `_anywhere`."""
        return await self._anywhere(lambda pool: pool.fetchval(query, *args), fresh)

    async def _anywhere(
        self, query: "Callable[[asyncpg.Pool[asyncpg.Record]], Awaitable[T]]", fresh: bool
    ) -> T:
        """Asks one server after another until one answers; with `fresh` the primary first.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE` if all are gone.
        """
        order = self._order()
        if fresh:
            order = [self._primary, *(node for node in order if node is not self._primary)]
        last: Exception | None = None
        for node in order:
            try:
                return await query(node.pool)
            except GONE as error:
                last = error
                self._suspect(node)
        assert last is not None
        raise _away(last) from last

    def _order(self) -> Sequence[_Node]:
        """Healthy replicas in turn, then the primary, then what is left as a last resort."""
        good = [n for n in self._replicas if n.lag_s is not None and n.lag_s <= self._config.max_lag_s]
        if good:
            self._turn = (self._turn + 1) % len(good)
            good = good[self._turn :] + good[: self._turn]
        # A replica that is behind still answers when nothing else does.
        late = [n for n in self._replicas if n.lag_s is not None and n not in good]
        return [*good, self._primary, *late]

    def _suspect(self, node: _Node) -> None:
        """Leaves a server out until it has answered a measurement."""
        if node is not self._primary:
            node.lag_s = None
            REPLICA_LAG.labels(node.label).set(float("nan"))

    async def watch(self) -> None:
        """Measures the replicas' lag, for ever. A background task of every process that reads."""
        while self._replicas:
            await self.measure()
            await asyncio.sleep(self._config.lag_interval_s)

    async def measure(self) -> None:
        """Measures the replicas' lag once."""
        if not self._replicas:
            return
        with contextlib.suppress(*GONE):
            lsn = await self._ask(self._primary, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
            self._positions.samples.append((time.monotonic(), lsn))
        await asyncio.gather(*(self._measure(node) for node in self._replicas))

    async def _measure(self, node: _Node) -> None:
        was = node.lag_s
        try:
            query = "SELECT coalesce(pg_last_wal_replay_lsn(), pg_current_wal_lsn()) - '0/0'::pg_lsn"
            node.replayed = await self._ask(node, query)
        except GONE as error:
            if was is not None:
                log.warning("%s is away: %s: %s", node.label, type(error).__name__, error)
            self._suspect(node)
            return
        # With the primary gone and never seen there is nothing newer to be had anywhere.
        node.lag_s = self._positions.age_of(node.replayed, time.monotonic()) or 0.0
        REPLICA_LAG.labels(node.label).set(node.lag_s)
        if was is None:
            log.info("%s is there, %.1f s behind", node.label, node.lag_s)

    async def _ask(self, node: _Node, query: str) -> int:
        async with (
            asyncio.timeout(self._config.timeout_s),
            node.pool.acquire(timeout=self._config.timeout_s) as connection,
        ):
            return int(await connection.fetchval(query))


async def connect(config: PostgresConfig) -> Postgres:
    """Makes a service's pools."""
    postgres = Postgres(config)
    await postgres.open()
    return postgres


def _away(error: BaseException) -> MarqueeError:
    log.warning("database away: %s: %s", type(error).__name__, error)
    return unavailable("DATABASE_UNAVAILABLE", "the database is away; try again", retry_after=2)
