"""Redis: a client that gives up quickly, since whoever asks can do without it."""

from dataclasses import dataclass
from typing import Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from mesh.config import setting

# What a call raises while Redis is down, slow or loading.
AWAY: Final = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True)
class RedisConfig:
    """Where Redis is and how long it may take."""

    url: str = setting("MARQUEE_REDIS_URL", help="redis://user:password@host:port/0", secret=True)
    timeout_s: float = setting(
        "MARQUEE_REDIS_TIMEOUT_S", 0.25, "how long a call, or connecting, may take, in seconds", low=0.01
    )
    pool_size: int = setting("MARQUEE_REDIS_POOL", 32, "connections, at most", low=1)


def connect(config: RedisConfig, *, decode: bool = False) -> "redis.Redis":
    """Makes a client; connects at the first call. One retry, for connections that went stale."""
    client: redis.Redis = redis.Redis.from_url(
        config.url,
        protocol=3,
        decode_responses=decode,
        socket_timeout=config.timeout_s,
        socket_connect_timeout=config.timeout_s,
        max_connections=config.pool_size,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[RedisConnectionError],
    )
    return client
