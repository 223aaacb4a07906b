"""What is pending: writes that stand in the log and, as far as is known, not in the database yet.

Redis has them for all replicas of the service; each process also remembers its
own, for while Redis is away or full. A pending write never hides a newer row:
whoever reads both takes the one that is later in the log.

They have no expiry in Redis, since what has one is what a full Redis deletes.
An index says by Redis' clock when each user wrote last, and who sweeps deletes
by it.
"""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError

from mesh import clock
from mesh.pipe import Pipe, RedisAway
from rating_svc import pending_scripts
from rating_svc.config import PendingConfig
from rating_svc.metrics import PENDING_STALE, PENDING_UNSHARED
from rating_svc.submissions import Position

log = logging.getLogger(__name__)

_PREFIX: Final = "rating:pending:"
_INDEX: Final = "rating:pending:index"
_AT_ONCE: Final = 1000
"""Writes of a user in one step of Redis, at most: Lua has room for some thousand arguments."""
_SWEPT_AT_ONCE: Final = 200
"""Users whose writes a sweep deletes in one step, at most: Redis does nothing else meanwhile."""
_SWEEP_S: Final = 60.0
"""How often stale writes are looked for, at most."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A write that stands in the log."""

    movie: int
    score: int | None
    """None: the rating is deleted."""
    position: Position
    submit_us: int
    """Microseconds since 1970."""
    request_id: uuid.UUID | None = field(default=None, compare=False)
    """What its client called it; None if it did not, or if it was read from Redis."""
    settled: bool = False
    """Whether the workers are past it, and every replica has what they made of it."""


T = TypeVar("T", bound=PendingWrite | None)


class PendingWrites:
    """The pending writes of all users.

    Args:
        settled: whether what stands at a place in the log, of a user, was processed some time ago.
    """

    def __init__(
        self,
        pipe: Pipe,
        config: PendingConfig,
        settled: Callable[[str, Position], bool] = lambda _user, _position: False,
    ) -> None:
        self._pipe = pipe
        self._ttl_s = config.ttl_s
        self._local = _Local(config)
        self._settled = settled

    async def put(self, user: str, writes: Sequence[PendingWrite]) -> list[PendingWrite]:
        """Remembers writes of one user; returns each, or the earlier one that it repeats.

        Never fails: while Redis is away or full, the other replicas don't see the
        writes until they are in the database.
        """
        shown = []
        for start in range(0, len(writes), _AT_ONCE):
            shown += await self._put(user, writes[start : start + _AT_ONCE])
        return shown

    async def _put(self, user: str, writes: Sequence[PendingWrite]) -> list[PendingWrite]:
        keys = [_pending_key(user), _INDEX]
        args: list[Any] = [user, self._ttl_s]
        for write in writes:
            index = 0
            if write.request_id is not None:
                keys.append(_request_key(user, write.request_id))
                index = len(keys)
            args += (write.movie, write.position.epoch, write.position.offset, _packed(write), index)
        try:
            before: list[bytes] = await self._pipe.run(pending_scripts.PUT, keys, args)
        except (RedisAway, RedisError) as error:
            PENDING_UNSHARED.inc(len(writes))
            log.debug("pending writes not shared: %s", error)
            before = [b""] * len(writes)
        shown = []
        for earlier, write in zip(before, writes, strict=True):
            if earlier:
                shown.append(_unpacked(write.movie, earlier))
            else:
                self._local.put(user, write)
                shown.append(write)
        return shown

    async def requested(
        self, user: str, request_ids: Sequence[uuid.UUID]
    ) -> dict[uuid.UUID, tuple[int, int]]:
        """What was asked for under these ids: movie and score (0: to delete it). Empty without Redis."""
        keys = [_request_key(user, request_id) for request_id in request_ids]
        try:
            found: list[bytes | None] = await self._pipe.call("MGET", *keys)
        except (RedisAway, RedisError):
            return {}
        pairs = zip(request_ids, found, strict=True)
        return {request_id: _of_request(value) for request_id, value in pairs if value}

    async def get(self, user: str, movie: int) -> tuple[PendingWrite | None, bool]:
        """The pending write for a movie, and whether Redis was asked."""
        local = self._local.of(user).get(movie)
        try:
            value: bytes | None = await self._pipe.call("HGET", _pending_key(user), movie)
        except (RedisAway, RedisError):
            return self._marked(user, local), False
        shared = _unpacked(movie, value) if value else None
        return self._marked(user, _later(local, shared)), True

    async def all(self, user: str) -> tuple[dict[int, PendingWrite], bool]:
        """A user's pending writes by movie, and whether Redis was asked."""
        found = dict(self._local.of(user))
        shared: Mapping[bytes, bytes] = {}
        asked = True
        try:
            shared = await self._pipe.call("HGETALL", _pending_key(user))
        except (RedisAway, RedisError):
            asked = False
        for key, value in shared.items():
            write = _unpacked(int(key), value)
            held = found.get(write.movie)
            if held is None or held.position < write.position:
                found[write.movie] = write
        return {movie: self._marked(user, write) for movie, write in found.items()}, asked

    def _marked(self, user: str, write: T) -> T:
        if write is not None and self._settled(user, write.position):
            return replace(write, settled=True)
        return write

    async def clear(self, user: str, dealt_with: Mapping[int, Position]) -> None:
        """Forgets writes up to the given places in the log, by movie."""
        every = list(dealt_with.items())
        for start in range(0, len(every), _AT_ONCE):
            args = [part for movie, place in every[start : start + _AT_ONCE] for part in (movie, *place)]
            await self._pipe.run(pending_scripts.CLEAR, [_pending_key(user), _INDEX], [user, *args])

    async def expire(self) -> None:
        """Forgets all of users who wrote for the last time longer ago than writes are kept, forever.

        Any number of processes may do so.
        """
        while True:
            await asyncio.sleep(min(self._ttl_s / 4, _SWEEP_S))
            try:
                await self.sweep()
            except (RedisAway, RedisError) as error:
                log.debug("stale pending writes not deleted: %s", error)

    async def sweep(self) -> int:
        """Forgets what is too old; returns of how many users.

        Raises:
            RedisAway, RedisError: Redis is away, or refused.
        """
        total = 0
        while True:
            swept: int = await self._pipe.run(
                pending_scripts.SWEEP, [_INDEX], [_PREFIX, self._ttl_s, _SWEPT_AT_ONCE]
            )
            total += swept
            if swept < _SWEPT_AT_ONCE:
                PENDING_STALE.inc(total)
                return total


class Settling:
    """Forgets writes some time after they were stored: until then a replica may not have their rows."""

    def __init__(self, pending: PendingWrites, delay_s: float, limit: int = 200_000) -> None:
        self._pending = pending
        self._delay_s = delay_s
        self._limit = limit
        self._due: OrderedDict[tuple[str, int], tuple[float, Position]] = OrderedDict()

    def add(self, user: str, movie: int, position: Position) -> None:
        """Takes note of a write that was processed."""
        key = (user, movie)
        held = self._due.pop(key, None)
        if held is not None:
            position = max(position, held[1])
        self._due[key] = (time.monotonic() + self._delay_s, position)
        if len(self._due) > self._limit:
            # A sweep deletes it; until then it only costs memory, since the row is as late in the log.
            self._due.popitem(last=False)

    async def run(self) -> None:
        """Forgets what is due, forever."""
        while True:
            await asyncio.sleep(max(0.05, min(self._delay_s / 4, 1.0)))
            try:
                await self.sweep()
            except (RedisAway, RedisError) as error:
                log.debug("pending writes not cleared: %s", error)

    async def sweep(self) -> None:
        """Forgets what is due."""
        now = time.monotonic()
        users: dict[str, dict[int, Position]] = {}
        while self._due:
            (user, movie), (due, position) = next(iter(self._due.items()))
            if due > now:
                break
            del self._due[user, movie]
            users.setdefault(user, {})[movie] = position
        await asyncio.gather(*(self._pending.clear(user, done) for user, done in users.items()))


class _Local:
    """The writes of this process: bounded in number and time; who wrote longest ago goes first."""

    def __init__(self, config: PendingConfig) -> None:
        self._limit = config.local_limit
        self._ttl_us = config.ttl_s * 1_000_000
        self._users: OrderedDict[str, dict[int, PendingWrite]] = OrderedDict()
        self._count = 0

    def put(self, user: str, write: PendingWrite) -> None:
        writes = self._users.setdefault(user, {})
        held = writes.get(write.movie)
        if held is None:
            self._count += 1
        if held is None or held.position < write.position:
            writes[write.movie] = write
        self._users.move_to_end(user)
        while self._count > self._limit and self._users:
            self._count -= len(self._users.popitem(last=False)[1])

    def of(self, user: str) -> Mapping[int, PendingWrite]:
        writes = self._users.get(user)
        if not writes:
            return {}
        oldest = clock.now_us() - self._ttl_us
        return {movie: write for movie, write in writes.items() if write.submit_us > oldest}


# The braces are Redis Cluster's: all keys of a user lie in one slot.
def _pending_key(user: str) -> str:
    return f"{_PREFIX}{{{user}}}"


def _request_key(user: str, request_id: uuid.UUID) -> str:
    return f"rating:request:{{{user}}}:{request_id}"


def _of_request(value: bytes) -> tuple[int, int]:
    movie, _, packed = value.partition(b" ")
    return int(movie), _unpacked(int(movie), packed).score or 0


def _packed(write: PendingWrite) -> str:
    epoch, offset = write.position
    return f"{epoch}:{offset}:{write.score or 0}:{write.submit_us}"


def _unpacked(movie: int, value: bytes) -> PendingWrite:
    # What a newer release may add comes after these (docs/decisions/0052).
    epoch, offset, score, submit_us = map(int, value.split(b":")[:4])
    return PendingWrite(movie, score or None, Position(epoch, offset), submit_us)


def _later(one: PendingWrite | None, other: PendingWrite | None) -> PendingWrite | None:
    if one is None or (other is not None and one.position < other.position):
        return other
    return one
