"""Which titles were served though OMDb may know better: counted here, added up in Redis for all replicas."""

import asyncio
import logging
from typing import Final

import redis.asyncio as redis

from mesh.redisdb import AWAY

log = logging.getLogger(__name__)

_KEY: Final = "movie:wishes"
_MAX_WISHES: Final = 10_000
_FLUSH_S: Final = 1.0


class Wishes:
    """The numbers that were served though OMDb may know better."""

    def __init__(self, client: "redis.Redis", *, enabled: bool) -> None:
        self._client = client
        self._enabled = enabled
        self._counts: dict[int, int] = {}

    def wish(self, number: int) -> None:
        if self._enabled and (number in self._counts or len(self._counts) < _MAX_WISHES):
            self._counts[number] = self._counts.get(number, 0) + 1

    async def run(self) -> None:
        """Adds this replica's wishes to everybody's, every second."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        try:
            pipeline = self._client.pipeline(transaction=False)
            for number, count in counts.items():
                pipeline.zincrby(_KEY, count, str(number))
            # What nobody wanted for long is not worth remembering.
            pipeline.zremrangebyrank(_KEY, 0, -_MAX_WISHES - 1)
            await pipeline.execute()
        except AWAY:
            log.debug("Redis is away: %d wishes are forgotten", len(counts))

    async def most_wanted(self) -> int | None:
        """Takes the number that was wished for most; None if there is none, or Redis is away."""
        try:
            # Without a count, RESP3 answers with one flat pair.
            found = await self._client.zpopmax(_KEY, 1)
        except AWAY:
            return None
        return int(found[0][0]) if found else None
