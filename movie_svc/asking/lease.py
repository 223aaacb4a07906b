"""One question to OMDb for all replicas: who has the lease asks, the others wait for what it finds."""

import asyncio
import time
from typing import Final
from uuid import uuid4

import redis.asyncio as redis

from mesh.redisdb import AWAY
from movie_svc.caching.cache import RedisCache
from movie_svc.storing.entries import Entry

_POLL_S: Final = 0.05
# Deletes a lease only if it is still the caller's.
_RELEASE: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


class Leases:
    """Leases on asking for a number, in Redis. While Redis is away everybody may ask."""

    def __init__(self, client: "redis.Redis", cache: RedisCache, duration_s: float) -> None:
        self._client = client
        self._cache = cache
        self._duration_s = duration_s
        self._release = client.register_script(_RELEASE)
        self._mine = uuid4().hex

    async def take(self, number: int) -> Entry | None:
        """None if the caller is to ask, and then to `release`; else what another replica found."""
        deadline = time.monotonic() + self._duration_s
        try:
            while not await self._client.set(
                _key(number), self._mine, nx=True, px=int(self._duration_s * 1000)
            ):
                await asyncio.sleep(_POLL_S)
                found = (await self._cache.get_many([number])).get(number)
                if found is not None or time.monotonic() > deadline:
                    return found
        except AWAY:
            return None
        return None

    async def release(self, number: int) -> None:
        """Lets the others ask, if there is anything left to ask for."""
        try:
            await self._release(keys=[_key(number)], args=[self._mine])
        except AWAY:
            return


def _key(number: int) -> str:
    return f"movie:asking:{number}"
