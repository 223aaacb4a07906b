"""Redis tells which titles have changed: RESP3 `CLIENT TRACKING ON BCAST`.

One connection of its own per process. Whatever ends it, the in-process cache is
dropped: changes may have been missed meanwhile.
https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

import asyncio
import logging
import time
from typing import Any, Final

import redis.asyncio as redis

from mesh.redisdb import AWAY, is_current
from movie_svc import metrics
from movie_svc.caching.cache import KEY_PREFIX, L1, RedisCache

log = logging.getLogger(__name__)

_PING_S: Final = 1.0
_SILENCE_S: Final = 3.0
_RETRY_S: Final = 0.5


class Tracker:
    """Keeps one L1 true."""

    def __init__(self, client: "redis.Redis", l1: L1, cache: RedisCache) -> None:
        self._client = client
        self._l1 = l1
        self._cache = cache
        self._heard = 0.0

    async def run(self) -> None:
        """Tracks forever; starts again whenever the connection ends."""
        while True:
            try:
                await self._track()
            except AWAY as error:
                log.warning("Redis tells of no changes any more: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_RETRY_S)

    async def _track(self) -> None:
        connection: Any = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
            connection._parser.set_invalidation_push_handler(self._changed)
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", KEY_PREFIX)
            await connection.read_response()
            # Redis can only tell of what it holds: what L1 keeps from now on must get there.
            self._cache.resume()
            self._l1.track(True)
            log.info("Redis tells of changes")
            await self._listen(connection)
        finally:
            self._l1.track(False)
            await connection.disconnect(nowait=True)

    async def _listen(self, connection: Any) -> None:
        """Reads what comes; asks for a sign of life when nothing does, since a dead peer is silent too."""
        self._heard = time.monotonic()
        while True:
            answer = await connection.read_response(
                push_request=True, timeout=_PING_S, disconnect_on_error=False
            )
            if answer is not None:
                self._heard = time.monotonic()
            elif time.monotonic() - self._heard > _SILENCE_S:
                raise TimeoutError(f"silent for {_SILENCE_S:g} s")
            elif time.monotonic() - self._heard > _PING_S:
                await connection.send_command("PING")
            if not is_current(self._client, connection):
                raise ConnectionError("another server is the master now")

    async def _changed(self, push: list[Any]) -> None:
        self._heard = time.monotonic()
        keys = push[1]
        if keys is None:  # FLUSHALL or FLUSHDB
            self._l1.clear()
            return
        numbers = [int(key.removeprefix(KEY_PREFIX.encode())) for key in keys]
        metrics.INVALIDATIONS.inc(len(numbers))
        self._l1.invalidate(numbers)
