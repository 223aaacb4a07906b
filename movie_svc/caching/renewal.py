"""What will soon be missed is read again before, so that nobody waits for it."""

import asyncio
import logging
from functools import partial
from typing import Final

from mesh.errors import MarqueeError
from mesh.switches import EARLY_REFRESH
from mesh.together import Batches, Turn
from movie_svc import metrics
from movie_svc.caching.cache import L1, RedisCache
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)

_LARGEST: Final = 200
"""Titles that Redis or PostgreSQL is asked for at once, at most."""


class Renewal:
    """Renews what this process and Redis hold; both say what is read and will soon be over."""

    def __init__(self, l1: L1, redis: RedisCache, store: Store) -> None:
        self._l1 = l1
        self._redis = redis
        self._for_l1 = Turn(self._renew_l1, largest=_LARGEST)
        self._for_redis = Turn(self._renew_redis, largest=_LARGEST)
        self._redis_batches = Batches(redis.get_many, at_once=1, largest=_LARGEST)
        self._primary_batches = Batches(partial(store.get_many, fresh=True), at_once=1, largest=_LARGEST)
        self._ending: dict[int, bytes] = {}
        """What Redis holds, as it is stored, of the titles that are to be renewed there."""
        self._l1_renewed = metrics.CACHE.labels("l1", "renewed")
        self._redis_renewed = metrics.CACHE.labels("redis", "renewed")
        l1.when_ending(self._l1_ends)
        redis.when_ending(self._redis_ends)

    async def settled(self) -> None:
        """Waits until no renewal is under way."""
        await asyncio.gather(self._for_l1.settled(), self._for_redis.settled())

    def _l1_ends(self, number: int) -> None:
        if not EARLY_REFRESH.on:
            return
        self._l1_renewed.inc()
        self._for_l1.add(number)

    async def _renew_l1(self, numbers: list[int]) -> None:
        """Only from Redis: nobody is waiting, so what is not there is not looked for any further."""
        begun = self._l1.begin_fill()
        try:
            found = await self._redis_batches.load(numbers)
            for number in numbers:
                if number in found:
                    self._l1.put(number, found[number], begun)
        finally:
            self._l1.end_fill()

    def _redis_ends(self, number: int, raw: bytes) -> None:
        if number not in self._ending and EARLY_REFRESH.on:
            self._redis_renewed.inc()
            self._ending[number] = raw
            self._for_redis.add(number)

    async def _renew_redis(self, numbers: list[int]) -> None:
        try:
            found = await self._primary_batches.load(numbers)
            for number in numbers:
                if number in found:
                    await self._redis.replace(number, self._ending[number], found[number])
        except MarqueeError as error:
            log.info("Redis will have to do without %d titles for a moment: %s", len(numbers), error)
        finally:
            for number in numbers:
                del self._ending[number]
