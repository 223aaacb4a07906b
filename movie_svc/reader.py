"""Reading titles through the layers: this process, Redis, PostgreSQL, OMDb.

A title that is known is served, however old; OMDb is waited for only where
nothing is known at all. All who miss the same title at the same time wait for
one flight, and what is missed at the same time is fetched together
(`movie_svc.caching.batches`).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from mesh import clock, names
from mesh.errors import MarqueeError
from movie_svc import metrics
from movie_svc.asking.answers import OmdbAnswers, ReadResult, overdue
from movie_svc.asking.refresh_queue import RefreshQueue
from movie_svc.caching.batches import Batches
from movie_svc.caching.cache import L1, RedisCache, When
from movie_svc.storing.entries import Entry
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)


class _Layer:
    """The counters of one layer, bound once."""

    def __init__(self, name: str) -> None:
        self.hit = metrics.CACHE.labels(name, "hit")
        self.stale = metrics.CACHE.labels(name, "stale")
        self.absent = metrics.CACHE.labels(name, "absent")
        self.miss = metrics.CACHE.labels(name, "miss")
        self.error = metrics.CACHE.labels(name, "error")
        self.coalesced = metrics.CACHE.labels(name, "coalesced")
        self.renewed = metrics.CACHE.labels(name, "renewed")

    def found(self, entry: Entry, now: float) -> None:
        (self.absent if entry.absent else self.hit if entry.fresh_until > now else self.stale).inc()


class MovieReader:
    """Gives entries by number."""

    def __init__(
        self,
        l1: L1,
        redis: RedisCache,
        store: Store,
        answers: OmdbAnswers,
        refresh_queue: RefreshQueue,
    ) -> None:
        self._l1 = l1
        self._redis = redis
        self._store = store
        self._answers = answers
        self._refresh_queue = refresh_queue
        self._flights: dict[int, asyncio.Future[ReadResult]] = {}
        self._from_redis = Batches(self._ask_redis, at_once=2, largest=200)
        self._from_postgres = Batches(self._ask_postgres, at_once=4, largest=200)
        self._to_refill = Batches(self._refill, at_once=1, largest=200)
        self._to_renew = Batches(self._renew, at_once=1, largest=200)
        self._ending: dict[int, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_l1, self._in_redis = _Layer("l1"), _Layer("redis")
        self._in_postgres, self._at_omdb = _Layer("postgres"), _Layer("omdb")
        l1.when_ending(self._renew_here)
        redis.when_ending(self._renew_in_redis)

    async def get(self, number: int, timeout_s: float) -> ReadResult:
        """What is known of one number.

        Raises:
            MarqueeError: UNAVAILABLE if nothing is, and OMDb could not be asked within `timeout_s`.
        """
        entry = self.peek(number)
        return ReadResult(entry, "l1") if entry is not None else await self.fetch(number, timeout_s)

    async def fetch(self, number: int, timeout_s: float) -> ReadResult:
        """As `get`, of what this process was found not to have."""
        try:
            # Others may wait for the same flight: it must not end with this caller.
            return await asyncio.wait_for(asyncio.shield(self._flight(number)), timeout_s)
        except TimeoutError:
            raise overdue(names.movie_name(number)) from None

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
            if not flight.done():
                found[number] = overdue(names.movie_name(number))
                continue
            error = flight.exception()
            if error is not None and not isinstance(error, MarqueeError):
                raise error
            found[number] = error if error is not None else flight.result()
        return found

    def peek(self, number: int) -> Entry | None:
        """What this process has of a number."""
        entry = self._l1.get(number)
        if entry is None:
            self._in_l1.miss.inc()
            return None
        now = clock.now()
        self._in_l1.found(entry, now)
        if entry.fresh_until < now:
            if entry.absent:
                self._l1.invalidate((number,))
                return None
            self._refresh_queue.add(number)
        return entry

    async def settled(self) -> None:
        """Waits until what goes on in the background has ended."""
        batches = (self._from_redis, self._from_postgres, self._to_refill, self._to_renew)
        while tasks := [*(task for each in batches for task in each.running), *self._tasks]:
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._answers.settled()
        await self._redis.settled()

    def _flight(self, number: int) -> asyncio.Future[ReadResult]:
        flight = self._flights.get(number)
        if flight is not None:
            self._in_l1.coalesced.inc()
            return flight
        loop = asyncio.get_running_loop()
        flight = self._flights[number] = loop.create_future()
        flight.add_done_callback(_retrieved)
        self._from_redis.add((number,))
        return flight

    async def _ask_redis(self, numbers: list[int]) -> None:
        begun = self._l1.begin_fill()
        try:
            found = await self._redis.get_many(numbers)
            self._from_postgres.add(self._land(numbers, found, "redis", self._in_redis, begun))
        except Exception as error:
            self._fail(numbers, error)
        finally:
            self._l1.end_fill()

    async def _ask_postgres(self, numbers: list[int]) -> None:
        missing, away = numbers, None
        begun = self._l1.begin_fill()
        try:
            # A replica may not have it yet: before OMDb is asked, so is the primary.
            for fresh in (False, True):
                rows = await self._store.get_many(missing, fresh=fresh)
                self._l1.will_write(rows)
                self._redis.put_later(rows, When.NOTHING_THERE)
                missing = self._land(missing, rows, "postgres", self._in_postgres, begun)
                if not missing:
                    return
        except MarqueeError as error:
            away = error
            self._in_postgres.error.inc(len(missing))
        except Exception as error:
            self._fail(missing, error)
            return
        finally:
            self._l1.end_fill()
        for number in missing:
            task = asyncio.get_running_loop().create_task(self._ask_omdb(number, away))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _renew_here(self, number: int) -> None:
        """Has a title anew that this process will soon miss; nobody waits for it."""
        self._in_l1.renewed.inc()
        self._to_refill.add((number,))

    async def _refill(self, numbers: list[int]) -> None:
        """Only from Redis: nobody is waiting, so what is not there is not looked for any further."""
        begun = self._l1.begin_fill()
        try:
            for number, entry in (await self._redis.get_many(numbers)).items():
                self._l1.put(number, entry, begun)
        finally:
            self._l1.end_fill()

    def _renew_in_redis(self, number: int, raw: bytes) -> None:
        """The same for one that Redis will soon not have any more."""
        if number not in self._ending:
            self._in_redis.renewed.inc()
            self._ending[number] = raw
            self._to_renew.add((number,))

    async def _renew(self, numbers: list[int]) -> None:
        try:
            entries = await self._store.get_many(numbers, fresh=True)
            for number, entry in entries.items():
                await self._redis.replace(number, self._ending[number], entry)
        except MarqueeError as error:
            log.info("Redis will have to do without %d titles for a moment: %s", len(numbers), error)
        finally:
            for number in numbers:
                del self._ending[number]

    def _land(
        self, numbers: list[int], found: Mapping[int, Entry], layer: str, counters: _Layer, begun: int
    ) -> list[int]:
        """Ends the flights of what a layer has; gives the numbers that it has not."""
        missing = []
        now = clock.now()
        for number in numbers:
            entry = found.get(number)
            if entry is None or (entry.absent and entry.fresh_until < now):
                counters.miss.inc()
                missing.append(number)
                continue
            counters.found(entry, now)
            if entry.is_due(now):
                self._refresh_queue.add(number)
            self._l1.put(number, entry, begun)
            self._succeed(number, ReadResult(entry, layer))
        return missing

    async def _ask_omdb(self, number: int, away: MarqueeError | None) -> None:
        """Asks OMDb for a number that is not known, or not to be known because the database is away."""
        begun = self._l1.begin_fill()
        try:
            answer = await self._answers.ask(number, away)
            if answer.layer == "omdb":
                self._at_omdb.found(answer.entry, clock.now())
            else:  # another replica was asking already
                self._at_omdb.coalesced.inc()
            self._l1.put(number, answer.entry, begun)
            self._succeed(number, answer)
        except MarqueeError as error:
            self._at_omdb.error.inc()
            self._fail((number,), error)
        except Exception as error:
            log.exception("%s could not be read", names.movie_name(number))
            self._fail((number,), error)
        finally:
            self._l1.end_fill()

    def _succeed(self, number: int, answer: ReadResult) -> None:
        flight = self._flights.pop(number, None)
        if flight is not None and not flight.done():
            flight.set_result(answer)

    def _fail(self, numbers: Iterable[int], error: Exception) -> None:
        for number in numbers:
            flight = self._flights.pop(number, None)
            if flight is not None and not flight.done():
                flight.set_exception(error)


def _retrieved(flight: "asyncio.Future[ReadResult]") -> None:
    """All who waited may have given up: an error must not be reported as lost then."""
    if not flight.cancelled():
        flight.exception()
