"""The caches in front of the database: in this process, and in Redis. Both hold ready bytes."""

import asyncio
import logging
import struct
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import redis.asyncio as redis
from marquee.movies.v1 import movies_pb2

from mesh.redisdb import AWAY
from movie_svc import metrics
from movie_svc.config import CacheConfig
from movie_svc.records import ETAG_CHARS, Record, spread

log = logging.getLogger(__name__)

KEY_PREFIX: Final = "movie:m:"
_FORMAT: Final = 1
_HEAD: Final = struct.Struct(f"<BBdd{ETAG_CHARS}s")
# What an entry takes in memory beside its bytes: objects, dictionary slots.
_OVERHEAD_BYTES: Final = 400
_MAX_WRITES: Final = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one number: a movie's ready bytes, or that there is none (`data` is empty)."""

    data: bytes
    etag: str
    source: int
    fetched_at: float
    """Seconds since 1970."""
    fresh_until: float
    """Seconds since 1970."""

    @property
    def absent(self) -> bool:
        return not self.data

    @property
    def partial(self) -> bool:
        """Whether OMDb knows more than this."""
        return self.source != movies_pb2.SOURCE_OMDB

    def packed(self) -> bytes:
        head = _HEAD.pack(_FORMAT, self.source, self.fetched_at, self.fresh_until, self.etag.encode())
        return head + self.data


def of_record(record: Record) -> Entry:
    return Entry(
        record.data,
        record.etag,
        record.source,
        record.fetch_time.timestamp(),
        record.fresh_until.timestamp(),
    )


def unpacked(raw: bytes) -> Entry | None:
    """The entry of packed bytes; None if another release packed them."""
    if len(raw) < _HEAD.size or raw[0] != _FORMAT:
        return None
    _, source, fetched_at, fresh_until, etag = _HEAD.unpack_from(raw)
    return Entry(raw[_HEAD.size :], etag.rstrip(b"\0").decode(), source, fetched_at, fresh_until)


class When(Enum):
    """Whether to store an entry in Redis."""

    ALWAYS = "always"
    """It is newer than what may be there."""
    NOTHING_THERE = "nothing there"
    """It was read from a replica: one that is behind must not undo a change."""
    SOMETHING_THERE = "something there"
    """It is newer, and nobody asked for it."""


class L1:
    """The in-process cache: bounded in bytes, least recently used out first.

    Redis says what has changed (`movie_svc.tracking`); while it can't, entries
    are kept for seconds only. What was read before a change and comes in after
    it must not be kept: a fill says when it began, and is refused if its key
    was invalidated since.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._entries: OrderedDict[int, tuple[Entry, float, int]] = OrderedDict()
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

    def get(self, number: int) -> Entry | None:
        found = self._entries.get(number)
        if found is None:
            return None
        if found[1] < time.monotonic():
            self._drop(number)
            return None
        self._entries.move_to_end(number)
        return found[0]

    def begin_fill(self) -> int:
        """To be called before what is to be put is read; gives what `put` needs. End with `end_fill`."""
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
            _, (_, _, evicted) = self._entries.popitem(last=False)
            self._bytes -= evicted
            metrics.CACHE_EVICTIONS.inc()
        self._entries[number] = (entry, time.monotonic() + spread(ttl), size)
        self._bytes += size

    def invalidate(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._changes += 1
            if self._fills:
                self._changed[number] = self._changes
            self._drop(number)

    def clear(self) -> None:
        self._changes += 1
        self._cleared = self._changes
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
            self._bytes -= found[2]


class RedisCache:
    """The cache that replicas share. While Redis is away it holds nothing and takes nothing."""

    def __init__(self, client: "redis.Redis", config: CacheConfig) -> None:
        self._client = client
        self._config = config
        self._paused_until = 0.0
        self._writes: set[asyncio.Task[None]] = set()

    async def get_many(self, numbers: Collection[int]) -> Mapping[int, Entry]:
        """What Redis has of the numbers, in one round trip."""
        if time.monotonic() < self._paused_until:
            return {}
        try:
            values = await self._client.mget([f"{KEY_PREFIX}{number}" for number in numbers])
        except AWAY as error:
            self._pause(error)
            return {}
        found = {}
        for number, raw in zip(numbers, values, strict=True):
            entry = unpacked(raw) if isinstance(raw, bytes) else None
            if entry is not None:
                found[number] = entry
        return found

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
        if not entries or time.monotonic() < self._paused_until:
            return
        now = time.time()
        try:
            pipeline = self._client.pipeline(transaction=False)
            for number, entry in entries.items():
                ttl = spread(self._config.redis_ttl_s)
                if entry.absent:
                    ttl = min(ttl, entry.fresh_until - now)
                if ttl > 0:
                    pipeline.set(
                        f"{KEY_PREFIX}{number}",
                        entry.packed(),
                        px=max(1, int(ttl * 1000)),
                        nx=when is When.NOTHING_THERE,
                        xx=when is When.SOMETHING_THERE,
                    )
            await pipeline.execute()
        except AWAY as error:
            self._pause(error)

    def _pause(self, error: BaseException) -> None:
        log.warning(
            "Redis is away (%s: %s); left alone for %g s",
            type(error).__name__,
            error,
            self._config.redis_pause_s,
        )
        self._paused_until = time.monotonic() + self._config.redis_pause_s
