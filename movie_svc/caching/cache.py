"""The caches in front of the database: in this process, and in Redis. Both hold ready bytes."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import redis.asyncio as redis

from mesh import clock
from mesh.pause import Pause
from mesh.redisdb import AWAY
from movie_svc import metrics
from movie_svc.config import CacheConfig
from movie_svc.storing.entries import Entry, unpacked
from movie_svc.storing.records import ahead, spread

KEY_PREFIX: Final = "movie:m:"
# What an entry takes in memory beside its bytes: objects, dictionary slots.
_OVERHEAD_BYTES: Final = 400
_MAX_WRITES: Final = 64
_MAX_WRITTEN: Final = 10_000
_MAX_CHANGED: Final = 10_000
# KEYS: the title. ARGV: what is there, what is to be there, for how many ms.
_REPLACE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
"""
# KEYS: the title. ARGV: what is to be there, when it was fetched, for how many ms, XX or nothing. Not over
# what the same source said later: who was frozen comes back with what it once read. See entries.packed.
_PUT: Final = """
local held = redis.call('GET', KEYS[1])
if not held and ARGV[4] == 'XX' then return end
if held and #held > 9 and string.sub(held, 1, 2) == string.sub(ARGV[1], 1, 2)
    and struct.unpack('<d', string.sub(held, 3, 10)) > tonumber(ARGV[2]) then return end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
"""


class When(Enum):
    """Whether to store an entry in Redis."""

    ALWAYS = "always"
    """It is newer than what may be there."""
    NOTHING_THERE = "nothing there"
    """It was read from a replica: one that is behind must not undo a change."""
    SOMETHING_THERE = "something there"
    """It is newer, and nobody asked for it."""


@dataclass(slots=True)
class _Kept:
    """An entry in the in-process cache; times are of the monotonic clock, in seconds."""

    entry: Entry
    size: int
    until: float
    renew_at: float


class L1:
    """The in-process cache: bounded in bytes, least recently used out first.

    Redis says what has changed (`movie_svc.caching.tracking`); while it can't, entries
    are kept for seconds only. What was read before a change and comes in after
    it must not be kept: a fill says when it began, and is refused if its key
    was invalidated since.

    What is read shortly before its time is over is fetched again meanwhile: see
    `when_ending`. So is what this process has written to Redis, which tells
    everybody of the change, the writer too.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._entries: OrderedDict[int, _Kept] = OrderedDict()
        self._renew: Callable[[int], None] = lambda _number: None
        self._written: set[int] = set()
        self._bytes = 0
        self._tracked = False
        self._changes = 0
        self._cleared = 0
        self._changed: dict[int, int] = {}
        self._fills = 0
        metrics.CACHE_BYTES.set_function(lambda: self._bytes)
        metrics.CACHE_ENTRIES.set_function(lambda: len(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def when_ending(self, renew: Callable[[int], None]) -> None:
        """Sets what is told of an entry that is wanted and will soon be over, or was just dropped."""
        self._renew = renew

    def will_write(self, numbers: Iterable[int]) -> None:
        """Says what this process is about to write to Redis: it is no news here, and wanted afterwards."""
        if len(self._written) > _MAX_WRITTEN:
            self._written.clear()
        self._written.update(numbers)

    def get(self, number: int) -> Entry | None:
        found = self._entries.get(number)
        if found is None:
            return None
        if found.renew_at < (now := time.monotonic()):
            if found.until < now:
                self._drop(number)
                return None
            found.renew_at = found.until
            self._renew(number)
        self._entries.move_to_end(number)
        return found.entry

    def begin_fill(self) -> int:
        """To be called before what is to be put is read; returns what `put` needs. End with `end_fill`."""
        self._fills += 1
        return self._changes

    def end_fill(self) -> None:
        self._fills -= 1
        if self._fills == 0:
            self._changed.clear()

    def put(self, number: int, entry: Entry, begun: int) -> None:
        """Keeps an entry that was read after `begun`, unless it has changed since."""
        if self._cleared > begun or self._changed.get(number, 0) > begun:
            return
        size = len(entry.data) + _OVERHEAD_BYTES
        ttl = self._config.l1_ttl_s if self._tracked else self._config.l1_untracked_ttl_s
        if size > self._config.l1_bytes or ttl <= 0:
            return
        self._drop(number)
        while self._bytes + size > self._config.l1_bytes:
            _, evicted = self._entries.popitem(last=False)
            self._bytes -= evicted.size
            metrics.CACHE_EVICTIONS.inc()
        until = time.monotonic() + spread(ttl)
        self._entries[number] = _Kept(entry, size, until, until - ahead(ttl))
        self._bytes += size

    def invalidate(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._changes += 1
            if self._fills:
                self._note(number)
            self._drop(number)
            if number in self._written:
                self._written.discard(number)
                self._renew(number)

    def _note(self, number: int) -> None:
        if len(self._changed) >= _MAX_CHANGED:
            # Fills may overlap forever. Which keys have changed is then not known any more: fills that are
            # under way keep nothing.
            self._cleared = self._changes
            self._changed.clear()
        self._changed[number] = self._changes

    def clear(self) -> None:
        self._changes += 1
        self._cleared = self._changes
        self._changed.clear()
        self._entries.clear()
        self._bytes = 0

    def track(self, tracked: bool) -> None:
        """Says whether changes are told from now on; what was kept before is dropped."""
        self._tracked = tracked
        metrics.TRACKING.set(tracked)
        self.clear()

    def _drop(self, number: int) -> None:
        found = self._entries.pop(number, None)
        if found is not None:
            self._bytes -= found.size


class RedisCache:
    """The cache that replicas share. While Redis is away it holds nothing and takes nothing."""

    def __init__(self, client: "redis.Redis", config: CacheConfig) -> None:
        self._client = client
        self._config = config
        self._pause = Pause("Redis", config.redis_pause_s)
        self._replace = client.register_script(_REPLACE)
        self._renew: Callable[[int, bytes], None] = lambda _number, _raw: None
        self._writes: set[asyncio.Task[None]] = set()

    def when_ending(self, renew: Callable[[int, bytes], None]) -> None:
        """Sets what is told of an entry that is read and will soon be over, as it is stored."""
        self._renew = renew

    async def get_many(self, numbers: Collection[int]) -> Mapping[int, Entry]:
        """What Redis has of the numbers, in one round trip."""
        if self._pause.on:
            return {}
        try:
            values = await self._client.mget([f"{KEY_PREFIX}{number}" for number in numbers])
        except AWAY as error:
            self._pause.begin(error)
            return {}
        found = {}
        now = clock.now()
        for number, raw in zip(numbers, values, strict=True):
            if isinstance(raw, bytes) and (known := unpacked(raw)) is not None:
                found[number], kept_until = known
                # An absence ends with its freshness: there is nothing to renew.
                if kept_until - now < ahead(self._config.redis_ttl_s) and not found[number].absent:
                    self._renew(number, raw)
        return found

    async def replace(self, number: int, raw: bytes, entry: Entry) -> None:
        """Stores an entry if what is stored still is `raw`: what has changed meanwhile stays as it is."""
        ttl = spread(self._config.redis_ttl_s)
        packed = entry.packed(clock.now() + ttl)
        try:
            await self._replace(keys=[f"{KEY_PREFIX}{number}"], args=[raw, packed, int(ttl * 1000)])
        except AWAY as error:
            self._pause.begin(error)

    def put_later(self, entries: Mapping[int, Entry], when: When) -> None:
        """As `put`, in the background."""
        if not entries or len(self._writes) >= _MAX_WRITES:
            return
        task = asyncio.create_task(self.put(dict(entries), when))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def settled(self) -> None:
        """Waits until the writes under way have ended."""
        await asyncio.gather(*self._writes)

    async def put(self, entries: Mapping[int, Entry], when: When) -> None:
        """Stores entries, in one round trip."""
        if not entries or self._pause.on:
            return
        now = clock.now()
        try:
            pipeline = self._client.pipeline(transaction=False)
            for number, entry in entries.items():
                ttl = spread(self._config.redis_ttl_s)
                if entry.absent:
                    ttl = min(ttl, entry.fresh_until - now)
                if ttl <= 0:
                    continue
                key, packed, ttl_ms = (
                    f"{KEY_PREFIX}{number}",
                    entry.packed(now + ttl),
                    max(1, int(ttl * 1000)),
                )
                if when is When.NOTHING_THERE:
                    pipeline.set(key, packed, px=ttl_ms, nx=True)
                else:
                    only = "XX" if when is When.SOMETHING_THERE else ""
                    pipeline.eval(_PUT, 1, key, packed, repr(entry.fetched_at), ttl_ms, only)
            await pipeline.execute()
        except AWAY as error:
            self._pause.begin(error)

    def resume(self) -> None:
        """Ends the pause after a failure: Redis is known to be back."""
        self._pause.end()
