"""Which titles to ask OMDb for again: what readers got though OMDb may know better, the most read first.

Counted here, added up in Redis for all replicas.
"""

import asyncio
import logging
from typing import Final

import redis.asyncio as redis

from mesh.redisdb import AWAY

log = logging.getLogger(__name__)

# The name is that of earlier releases, which run beside this one during an update.
_KEY: Final = "movie:wishes"
_MAX_NUMBERS: Final = 10_000
_FLUSH_S: Final = 1.0


class RefreshQueue:
    """The numbers that OMDb is to be asked for again, by how often they were read."""

    def __init__(self, client: "redis.Redis", *, enabled: bool) -> None:
        self._client = client
        self._enabled = enabled
        self._counts: dict[int, int] = {}

    def add(self, number: int) -> None:
        """Takes note that a number was read."""
        if self._enabled and (number in self._counts or len(self._counts) < _MAX_NUMBERS):
            self._counts[number] = self._counts.get(number, 0) + 1

    async def run(self) -> None:
        """Adds this replica's counts to those of all replicas, every second."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Adds what was counted here to Redis; without it, that is forgotten."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        try:
            pipeline = self._client.pipeline(transaction=False)
            for number, count in counts.items():
                pipeline.zincrby(_KEY, count, str(number))
            # What nobody has read for long is not worth remembering.
            pipeline.zremrangebyrank(_KEY, 0, -_MAX_NUMBERS - 1)
            await pipeline.execute()
        except AWAY:
            log.debug("Redis is away: %d titles are not queued to be asked for again", len(counts))

    async def take(self) -> int | None:
        """Takes the number that was read most; None if there is none, or Redis is away."""
        try:
            # Without a count, RESP3 answers with one flat pair.
            found = await self._client.zpopmax(_KEY, 1)
        except AWAY:
            return None
        return int(found[0][0]) if found else None
