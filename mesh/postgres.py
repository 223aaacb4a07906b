"""PostgreSQL: writes go to the primary, reads to a replica that is fresh enough.

A replica that is down, or further behind than allowed (`mesh.lag`), is left out
until it has caught up; with none left, reads go to the primary, and while that
is away too, to the replica that has most.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

import asyncpg

from mesh import dial, kept, spans
from mesh.config import setting
from mesh.errors import MarqueeError, unavailable
from mesh.kept import Kept
from mesh.lag import Lag, Server

log = logging.getLogger(__name__)
T = TypeVar("T")

if TYPE_CHECKING:  # asyncpg's classes take type parameters in its stubs only
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection
Connection: TypeAlias = kept.Connection

# What a connection raises when the server, or the way to it, is gone, or when the server ends what
# takes too long (mesh.sessions): all of it may be tried again.
GONE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that was changed in one place first
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke between two messages of the protocol
    asyncpg.TooManyConnectionsError,
    # It takes no connections, or is not there: for a moment, while a backup is put in its place.
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
)


class _Pooled(_Connection):
    """A connection that is not reset by a statement each time it goes back to the pool.

    That would be a second round trip for each read. Nobody who uses a pool leaves anything in the session:
    settings and locks are those of a transaction, which the pool still rolls back; who listens, or holds a
    lock for longer, has a session of its own (`mesh.turns`).
    """

    def get_reset_query(self) -> str:
        return ""


@dataclass(frozen=True)
class PostgresConfig:
    """Where the databases are and how they are used."""

    primary: str = setting(
        "MARQUEE_PG_PRIMARY",
        help="the DSN of the primary; it may name several hosts that all lead to it",
        secret=True,
    )
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

    name: str = ""
    """Of a database beside the first one, in metrics and logs: `shard-1`. Not a setting."""

    @property
    def own_session(self) -> str:
        """The DSN for what listens, or holds a lock for longer than a transaction."""
        return self.session or self.primary


@dataclass
class _Node:
    """One database server and the connections to it."""

    server: Server
    pool: "asyncpg.Pool[asyncpg.Record]"
    kept: Kept

    @property
    def label(self) -> str:
        return self.server.label


class Postgres:
    """The pools of one service. Made by `connect`."""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._primary = self._node("primary", config.primary)
        self._replicas = [self._node(f"replica-{i}", dsn) for i, dsn in enumerate(config.replicas, start=1)]
        self._lag = Lag(
            self._primary.server,
            [node.server for node in self._replicas],
            config.lag_interval_s,
            config.timeout_s,
            config.statement_cache,
            tells_time=not config.name,
        )
        self._turn = 0

    @property
    def _nodes(self) -> list[_Node]:
        return [self._primary, *self._replicas]

    @property
    def name(self) -> str:
        """Which database it is; empty for the first one."""
        return self._config.name

    @property
    def label(self) -> str:
        """What its primary is called in metrics and logs."""
        return self._primary.label

    def _node(self, role: str, dsn: str) -> _Node:
        label = f"{self.name}-{role}" if self.name else role
        pool = self._pool(dsn)
        kept_out = Kept(pool, self._config.pool_size)
        kept.export(label, pool, kept_out)
        return _Node(Server(label, dsn), pool, kept_out)

    def _pool(self, dsn: str) -> "asyncpg.Pool[asyncpg.Record]":
        return asyncpg.create_pool(
            dsn,
            connect=cast(Any, dial.connect),
            connection_class=_Pooled,
            min_size=0,
            max_size=self._config.pool_size,
            timeout=self._config.timeout_s,
            command_timeout=self._config.timeout_s,
            statement_cache_size=self._config.statement_cache,
            max_inactive_connection_lifetime=60,
        )

    async def open(self) -> None:
        """Makes the pools ready. Connects to nothing: a database may come later."""
        for node in self._nodes:
            await node.pool
        await self.measure()

    async def close(self) -> None:
        """Closes all connections, within two seconds."""
        await self._lag.close()
        for node in self._nodes:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._close(node), 2)

    @staticmethod
    async def _close(node: _Node) -> None:
        await node.kept.close()
        await node.pool.close()

    async def ping(self) -> None:
        """Raises if the primary does not answer. For health."""
        async with self._primary.pool.acquire(timeout=self._config.timeout_s) as connection:
            await connection.execute("SELECT 1")

    async def ping_any(self) -> None:
        """Raises if no database answers that reads could go to. For health."""
        await self.fetchval("SELECT 1")

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """A connection to the primary, in one transaction.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE` if the primary is gone.
        """
        try:
            async with self._primary.pool.acquire(timeout=self._config.timeout_s) as connection:
                with spans.statements(connection, self._primary.label):
                    async with connection.transaction():
                        yield connection
        except GONE as error:
            raise away(error) from error

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
                with spans.statements(connection, node.label):
                    yield connection
        except GONE as error:
            self._suspect(node)
            raise away(error) from error

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]:
        """Rows of a query that only reads; see `_anywhere`."""
        return await self._anywhere(query, lambda connection: connection.fetch(query, *args), fresh)

    async def fetchrow(self, query: str, *args: Any, fresh: bool = False) -> asyncpg.Record | None:
        """The first row of a query that only reads; see `_anywhere`."""
        return await self._anywhere(query, lambda connection: connection.fetchrow(query, *args), fresh)

    async def fetchval(self, query: str, *args: Any, fresh: bool = False) -> Any:
        """The first value of a query that only reads; see `_anywhere`."""
        return await self._anywhere(query, lambda connection: connection.fetchval(query, *args), fresh)

    async def _anywhere(self, query: str, ask: Callable[[Connection], Awaitable[T]], fresh: bool) -> T:
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
                with spans.statement(query, node.label):
                    return await node.kept.use(ask)
            except GONE as error:
                last = error
                self._suspect(node)
        assert last is not None
        raise away(last) from last

    def _order(self) -> Sequence[_Node]:
        """Healthy replicas in turn, then the primary, then what is left as a last resort.

        A primary that does not answer comes last: nobody has to wait for it first.
        """
        ages = [(node, self._lag.age(node.server)) for node in self._replicas]
        good = [node for node, age in ages if age is not None and age <= self._config.max_lag_s]
        if good:
            self._turn = (self._turn + 1) % len(good)
            good = good[self._turn :] + good[: self._turn]
        # A replica that is behind, or may be, still answers when nothing else does.
        late = [node for node in self._replicas if node.server.answers and node not in good]
        late.sort(key=lambda node: node.server.position, reverse=True)
        if self._primary.server.answers:
            return [*good, self._primary, *late]
        return [*good, *late, self._primary]

    def _suspect(self, node: _Node) -> None:
        """Leaves a replica out until it has answered a measurement."""
        self._lag.suspect(node.server)

    async def watch(self) -> None:
        """Measures the replicas' lag, and hears the primary's clock, forever. A background task of every
        process: without it a replica counts as late, and so gets no reads."""
        await asyncio.gather(self._lag.watch(), *(node.kept.watch() for node in self._nodes))

    async def measure(self) -> None:
        """Does both once."""
        await self._lag.measure()


async def connect(config: PostgresConfig) -> Postgres:
    """Makes a service's pools."""
    postgres = Postgres(config)
    await postgres.open()
    return postgres


def affected(status: str) -> int:
    """How many rows a statement changed, from what the server answered: `DELETE 3` → 3."""
    return int(status.rpartition(" ")[2])


def away(error: BaseException) -> MarqueeError:
    """What is answered while the database is away, for that reason."""
    log.warning("database away: %s: %s", type(error).__name__, error)
    return unavailable("DATABASE_UNAVAILABLE", "the database is away; try again", retry_after=2)
