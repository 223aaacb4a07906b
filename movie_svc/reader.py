"""Reading titles through the layers: this process, Redis, PostgreSQL, OMDb.

A title that is known is served, however old; OMDb is waited for only where
nothing is known at all. All who miss the same title at the same time wait for
one flight, and what is missed at the same time is fetched together
(`mesh.together`). The way of a miss, from top to bottom, is
`MovieReader._read_through`.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from mesh import clock, names
from mesh.errors import MarqueeError
from mesh.switches import EARLY_REFRESH
from mesh.tasks import retrieved
from mesh.together import Batches, Turn
from movie_svc import metrics
from movie_svc.asking.asker import MovieAsker, ReadResult, overdue
from movie_svc.asking.refresh_queue import RefreshQueue
from movie_svc.caching.cache import L1, RedisCache, When
from movie_svc.storing.entries import Entry
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)

_LARGEST: Final = 200
"""Numbers that Redis or PostgreSQL is asked for at once, at most."""


class _Layer:
    """A layer's name, and its counters, bound once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hit = metrics.CACHE.labels(name, "hit")
        self.stale = metrics.CACHE.labels(name, "stale")
        self.absent = metrics.CACHE.labels(name, "absent")
        self.miss = metrics.CACHE.labels(name, "miss")
        self.error = metrics.CACHE.labels(name, "error")
        self.coalesced = metrics.CACHE.labels(name, "coalesced")

    def found(self, entry: Entry, now: float) -> None:
        (self.absent if entry.absent else self.hit if entry.fresh_until > now else self.stale).inc()


_L1 = _Layer("l1")
_REDIS = _Layer("redis")
_POSTGRES = _Layer("postgres")
_OMDB = _Layer("omdb")


class MovieReader:
    """Reads titles by number."""

    def __init__(
        self, l1: L1, redis: RedisCache, store: Store, asker: MovieAsker, refresh_queue: RefreshQueue
    ) -> None:
        self._l1 = l1
        self._redis = redis
        self._store = store
        self._asker = asker
        self._refresh_queue = refresh_queue
        self._redis_batches = Batches(redis.get_many, at_once=2, largest=_LARGEST)
        # A replica may not have it yet: before OMDb is asked, so is the primary.
        self._postgres_batches = tuple(
            Batches(partial(self._rows, fresh=fresh), at_once=4, largest=_LARGEST) for fresh in (False, True)
        )
        self._flights: dict[int, asyncio.Future[ReadResult]] = {}
        self._missed = Turn(self._read_through, largest=_LARGEST)

    async def get(self, number: int, timeout_s: float) -> ReadResult:
        """What is known of one number.

        Raises:
            MarqueeError: UNAVAILABLE if nothing is, and OMDb could not be asked within `timeout_s`.
        """
        entry = self.peek(number)
        return ReadResult(entry, "l1") if entry is not None else await self.fetch(number, timeout_s)

    async def fetch(self, number: int, timeout_s: float) -> ReadResult:
        """As `get`, of what this process was found not to have."""
        flight = self._flight(number)
        # Others may wait for the same flight: it does not end with this caller, as `wait_for` would have it.
        await asyncio.wait((flight,), timeout=timeout_s)
        if not flight.done():
            raise overdue(names.movie_name(number))
        return flight.result()

    async def get_many(
        self, numbers: Iterable[int], timeout_s: float
    ) -> Mapping[int, ReadResult | MarqueeError]:
        """What is known of each number, or why nothing can be said."""
        found: dict[int, ReadResult | MarqueeError] = {}
        flights: dict[int, asyncio.Future[ReadResult]] = {}
        for number in numbers:
            entry = self.peek(number)
            if entry is not None:
                found[number] = ReadResult(entry, "l1")
            else:
                flights[number] = self._flight(number)
        if flights:
            await asyncio.wait(flights.values(), timeout=timeout_s)
        for number, flight in flights.items():
            found[number] = _end_of(number, flight)
        return found

    def peek(self, number: int) -> Entry | None:
        """What this process has of a number."""
        entry = self._l1.get(number)
        if entry is None:
            _L1.miss.inc()
            return None
        now = clock.now()
        _L1.found(entry, now)
        if entry.fresh_until < now:
            if entry.absent:
                self._l1.invalidate((number,))
                return None
            self._refresh_queue.add(number)
        return entry

    async def settled(self) -> None:
        """Waits until what goes on in the background has ended."""
        await self._missed.settled()
        await self._asker.settled()
        await self._redis.settled()

    def _flight(self, number: int) -> "asyncio.Future[ReadResult]":
        """The flight of a number that this process lacks: the one under way, or a new one."""
        flight = self._flights.get(number)
        if flight is not None:
            _L1.coalesced.inc()
            return flight
        flight = self._flights[number] = asyncio.get_running_loop().create_future()
        # All who wait may have given up when it ends.
        flight.add_done_callback(retrieved)
        self._missed.add(number)
        return flight

    async def _read_through(self, numbers: list[int]) -> None:
        """Ends the flights of numbers that this process lacks: in Redis, PostgreSQL, and then at OMDb."""
        missing = numbers
        begun = self._l1.begin_fill()
        try:
            missing = self._land(missing, await self._redis_batches.load(missing), _REDIS, begun)
            away: MarqueeError | None = None
            try:
                for rows in self._postgres_batches:
                    if missing:
                        missing = self._land(missing, await rows.load(missing), _POSTGRES, begun)
            except MarqueeError as error:
                away = error
                _POSTGRES.error.inc(len(missing))
            if missing:
                await asyncio.gather(*(self._ask_omdb(number, away, begun) for number in missing))
        except Exception as error:
            log.exception("%s could not be read", ", ".join(map(names.movie_name, missing)))
            for number in missing:
                self._fail(number, error)
        finally:
            self._l1.end_fill()

    async def _rows(self, numbers: list[int], *, fresh: bool) -> Mapping[int, Entry]:
        """What PostgreSQL has, on its way into Redis."""
        rows = await self._store.get_many(numbers, fresh=fresh)
        self._l1.will_write(rows)
        self._redis.put_later(rows, When.NOTHING_THERE)
        return rows

    def _land(
        self, numbers: Sequence[int], found: Mapping[int, Entry], layer: _Layer, begun: int
    ) -> list[int]:
        """Ends the flights of what a layer has; returns the numbers that it has not."""
        missing = []
        now = clock.now()
        for number in numbers:
            entry = found.get(number)
            if entry is None or (entry.absent and entry.fresh_until < now):
                layer.miss.inc()
                missing.append(number)
                continue
            layer.found(entry, now)
            if entry.is_due(now) and (EARLY_REFRESH.on or entry.fresh_until < now):
                self._refresh_queue.add(number)
            self._l1.put(number, entry, begun)
            self._succeed(number, ReadResult(entry, layer.name))
        return missing

    async def _ask_omdb(self, number: int, away: MarqueeError | None, begun: int) -> None:
        """Asks OMDb for a number that is not known, or not to be known because the database is away."""
        try:
            result = await self._asker.ask(number, away)
            if result.layer == _OMDB.name:
                _OMDB.found(result.entry, clock.now())
            else:  # another replica was asking already
                _OMDB.coalesced.inc()
            self._l1.put(number, result.entry, begun)
            self._succeed(number, result)
        except MarqueeError as error:
            _OMDB.error.inc()
            self._fail(number, error)
        except Exception as error:
            log.exception("%s could not be read", names.movie_name(number))
            self._fail(number, error)

    def _succeed(self, number: int, result: ReadResult) -> None:
        self._flights.pop(number).set_result(result)

    def _fail(self, number: int, error: Exception) -> None:
        self._flights.pop(number).set_exception(error)


def _end_of(number: int, flight: "asyncio.Future[ReadResult]") -> ReadResult | MarqueeError:
    """What a flight came to; an error that is not expected is raised."""
    if not flight.done():
        return overdue(names.movie_name(number))
    try:
        return flight.result()
    except MarqueeError as error:
        return error
