"""Redis: a client that gives up quickly, since whoever asks can do without it.

It asks one server, or, where MARQUEE_REDIS_SENTINELS is set, the sentinels which
server is the master, whenever it connects and whenever its health is asked for.
Redis Cluster is not supported: docs/decisions/0008.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as redis
from prometheus_client import Gauge
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError, ResponseError

from mesh import spans
from mesh.config import ConfigError, setting
from mesh.metrics import Group

POOL: Final = Group()
"""Of each process that uses Redis."""

CONNECTIONS: Final = Gauge(
    "marquee_redis_pool_connections",
    "Connections of this process to Redis, by state: used, idle. Near MARQUEE_REDIS_POOL: Redis is slow, "
    "or calls pile up here.",
    ("state",),
    registry=POOL,
)
LIMIT: Final = Gauge(
    "marquee_redis_pool_limit_connections",
    "Connections that this process may have to Redis at most: MARQUEE_REDIS_POOL.",
    registry=POOL,
)

# What a call raises while Redis is down, slow or loading.
AWAY: Final = (RedisError, OSError, TimeoutError)

# What a server says that is no master any more, or none that may write.
_NO_MASTER: Final = (ReadOnlyError, MasterDownError)
_CANT_WRITE: Final = ("NOREPLICAS", "MISCONF")


@dataclass(frozen=True)
class RedisConfig:
    """Where Redis is and how long it may take."""

    url: str = setting(
        "MARQUEE_REDIS_URL",
        help="redis://user:password@host:port/0; with sentinels, host and port do not count",
        secret=True,
    )
    timeout_s: float = setting(
        "MARQUEE_REDIS_TIMEOUT_S", 0.25, "how long a call, or connecting, may take, in seconds", low=0.01
    )
    pool_size: int = setting("MARQUEE_REDIS_POOL", 32, "connections, at most", low=1)
    sentinels: tuple[str, ...] = setting(
        "MARQUEE_REDIS_SENTINELS",
        (),
        "host:port of each Sentinel, separated by commas: they say which server is the master; "
        "empty: MARQUEE_REDIS_URL does",
    )
    master: str = setting(
        "MARQUEE_REDIS_MASTER", "marquee", "the name by which the sentinels know the master"
    )
    sentinel_user: str = setting("MARQUEE_REDIS_SENTINEL_USER", "", "the user at the sentinels, if they ask")
    sentinel_password: str = setting(
        "MARQUEE_REDIS_SENTINEL_PASSWORD", "", "the password at the sentinels, if they ask", secret=True
    )


def connect(config: RedisConfig, *, decode: bool = False) -> "redis.Redis":
    """Makes a client; connects at the first call. One retry, for connections that went stale.

    Raises:
        ConfigError: MARQUEE_REDIS_SENTINELS is not host:port,…
    """
    options: dict[str, Any] = {
        "protocol": 3,
        "decode_responses": decode,
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
        "max_connections": config.pool_size,
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": [RedisConnectionError],
    }
    if config.sentinels:
        return _by_sentinels(config, options)
    client: redis.Redis = _Client.from_url(config.url, **options)
    return client


def export(client: "redis.Redis") -> None:
    """Lets this process export how its pool is used: asked at each scrape, in its thread."""
    POOL.export()
    # redis-py does not tell it otherwise.
    pool: Any = client.connection_pool
    LIMIT.set(pool.max_connections)
    CONNECTIONS.labels("used").set_function(lambda: len(pool._in_use_connections))
    CONNECTIONS.labels("idle").set_function(lambda: len(pool._available_connections))


def probe(client: "redis.Redis") -> Callable[[], Awaitable[object]]:
    """What raises while Redis is away. For health; it also finds out whether there is another master.

    A connection to a server that is no longer the master, and could not be told so, would go on.
    """
    pool = client.connection_pool

    async def ask() -> object:
        if isinstance(pool, SentinelConnectionPool):
            await pool.get_master_address()  # type: ignore[no-untyped-call]
        return await client.ping()

    return ask


def is_current(client: "redis.Redis", connection: Any) -> bool:
    """Whether a connection leads to the server that is the master, as far as is known here."""
    pool = client.connection_pool
    known = pool.master_address if isinstance(pool, SentinelConnectionPool) else None
    return known is None or known == (connection.host, connection.port)


def has_no_master(client: "redis.Redis", error: RedisError) -> bool:
    """Whether a refusal says that there is another master now: sentinels know which."""
    return isinstance(client.connection_pool, SentinelConnectionPool) and _says_no_master(error)


def _says_no_master(error: RedisError) -> bool:
    return isinstance(error, _NO_MASTER) or str(error).startswith(_CANT_WRITE)


class _Client(redis.Redis):
    """Whose commands are part of the trace of what they are sent for."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with spans.command(args[0]):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


class _Follows(SentinelManagedConnection):
    """A connection that looks for the master again where the server says that it is none."""

    async def read_response(self, *args: Any, **named: Any) -> Any:
        try:
            return await super().read_response(*args, **named)
        except ResponseError as error:
            if _says_no_master(error):
                await self.disconnect(nowait=True)
                raise RedisConnectionError(str(error)) from error
            raise


class _FollowsTls(_Follows, SentinelManagedSSLConnection):
    """The same, by TLS."""


def _by_sentinels(config: RedisConfig, options: dict[str, Any]) -> "redis.Redis":
    # Those of one server are not the sentinels': a user and a password that they don't know, a database.
    to_sentinels: dict[str, Any] = {
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
        # The next one is asked instead.
        "retry": Retry(NoBackoff(), 0),
    }
    if config.sentinel_password:
        to_sentinels["username"] = config.sentinel_user or None
        to_sentinels["password"] = config.sentinel_password
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_address(text) for text in config.sentinels], sentinel_kwargs=to_sentinels
    )
    given = dict(parse_url(config.url))
    for name in ("host", "port", "path"):
        given.pop(name, None)
    tls = given.pop("connection_class", None) is not None
    client: redis.Redis = sentinels.master_for(
        config.master,
        redis_class=_Client,
        connection_class=_FollowsTls if tls else _Follows,
        **{**given, **options},
    )
    return client


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"MARQUEE_REDIS_SENTINELS can't hold {text!r}: give host:port,…")
    return host, int(port)
