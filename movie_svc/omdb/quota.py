"""How often OMDb may be asked: a rate and a daily number, shared by all replicas through Redis.

While Redis is away a replica goes on alone: at a quarter of the rate, and with
a quarter of what was left of the day when it last knew.
"""

import logging
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import redis.asyncio as redis
from aiolimiter import AsyncLimiter

from mesh.redisdb import AWAY
from movie_svc import metrics
from movie_svc.config import OmdbConfig

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_ALONE: Final = 0.25

# KEYS: bucket, day. ARGV: now (s), rate (1/s), burst, the day's ceiling, seconds to keep.
# Answers {1, 0, used}, {0, wait in ms, used} if the rate holds it back, {-1, 0, used} if the day is used up.
_TAKE: Final = """
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
if used >= tonumber(ARGV[4]) then return {-1, 0, used} end
local rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local at = tonumber(bucket[2] or ARGV[1])
local now = math.max(tonumber(ARGV[1]), at)
local tokens = math.min(burst, tonumber(bucket[1] or burst) + (now - at) * rate)
if tokens < 1 then return {0, math.ceil((1 - tokens) / rate * 1000), used} end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - 1), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return {1, 0, used + 1}
"""


class Purpose(StrEnum):
    """What OMDb is asked for: the less urgent, the sooner it stops."""

    READ = "i"
    LOOKUP = "t"
    SEARCH = "s"
    PLOT = "plot"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call may not go."""

    day_used: bool
    """The day's calls are used up; else it is only too fast."""
    retry_after: float
    """Seconds."""


class Quota:
    """Counts the calls of all replicas."""

    def __init__(self, client: "redis.Redis", config: OmdbConfig) -> None:
        self._config = config
        self._client = client
        self._take = client.register_script(_TAKE)
        self._used = 0
        self._day = 0
        self._alone_limiter = AsyncLimiter(max(1, config.rate_per_s * _ALONE), 1)
        self._alone_left: float | None = None

    def ceiling(self, purpose: Purpose) -> int:
        """How many of the day's calls may be used before this purpose has to stop."""
        share = {Purpose.SEARCH: self._config.search_share, Purpose.PLOT: self._config.search_share}.get(
            purpose, self._config.refresh_share if purpose is Purpose.REFRESH else 1.0
        )
        return int(self._config.daily_limit * share)

    async def take(self, purpose: Purpose) -> Refusal | None:
        """Counts one call; None if it may go."""
        now = time.time()
        day = int(now // _DAY_S)
        if day != self._day:
            self._day, self._used, self._alone_left = day, 0, None
        keys = ["movie:{omdb}:bucket", f"movie:{{omdb}}:day:{day}"]
        args = [now, self._config.rate_per_s, self._config.burst, self.ceiling(purpose), 2 * _DAY_S]
        try:
            verdict, wait_ms, used = await self._take(keys=keys, args=args)
        except AWAY as error:
            return await self._take_alone(purpose, now, error)
        if self._alone_left is not None:
            log.info("Redis counts OMDb's calls again")
        self._alone_left = None
        self._used = int(used)
        metrics.QUOTA_USED.set(self._used)
        metrics.QUOTA_LOCAL.set(0)
        if verdict == 1:
            return None
        return _tomorrow(now) if verdict < 0 else Refusal(False, wait_ms / 1000)

    async def _take_alone(self, purpose: Purpose, now: float, error: BaseException) -> Refusal | None:
        metrics.QUOTA_LOCAL.set(1)
        if self._alone_left is None:
            log.warning("Redis is away (%s); this replica counts OMDb's calls alone", error)
            self._alone_left = max(0, self._config.daily_limit - self._used) * _ALONE
        # Refreshes can wait until all can be counted.
        if self._alone_left < 1 or purpose is Purpose.REFRESH:
            return _tomorrow(now)
        if not self._alone_limiter.has_capacity():
            return Refusal(False, 1 / self._alone_limiter.max_rate)
        await self._alone_limiter.acquire()
        self._alone_left -= 1
        self._used += 1
        return None


def _tomorrow(now: float) -> Refusal:
    return Refusal(True, _DAY_S - now % _DAY_S)
