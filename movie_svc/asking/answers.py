"""What OMDb says, into all layers: asked once for all replicas, answered first, stored after."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mesh import clock, errors, names
from mesh.errors import MarqueeError
from movie_svc import metrics
from movie_svc.asking.lease import Leases
from movie_svc.caching.cache import L1, RedisCache, When
from movie_svc.config import FreshnessConfig
from movie_svc.omdb import parse
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.outcome import Absent, Failed, Failure, Found, Outcome
from movie_svc.storing import records
from movie_svc.storing.entries import Entry, of_record
from movie_svc.storing.records import MovieRecord
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)

_SAVE_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 2.0
_MAX_SAVES: Final = 256


@dataclass(frozen=True, slots=True)
class ReadResult:
    """An entry, and the layer that had it."""

    entry: Entry
    layer: str


class OmdbAnswers:
    """Asks OMDb for numbers, and keeps what it says."""

    def __init__(
        self,
        l1: L1,
        redis: RedisCache,
        store: Store,
        omdb: Omdb,
        leases: Leases,
        freshness: FreshnessConfig,
    ) -> None:
        self._l1 = l1
        self._redis = redis
        self._store = store
        self._omdb = omdb
        self._leases = leases
        self._freshness = freshness
        self._keeping: set[asyncio.Task[None]] = set()

    async def ask(self, number: int, away: MarqueeError | None) -> ReadResult:
        """What OMDb, or meanwhile another replica, has of a number that is not known here.

        `away` says why that can't be known just now: the database is away, and
        may know a number that OMDb does not.

        Raises:
            MarqueeError: OMDb can't say, and `away` if that is the reason.
        """
        asked = self._omdb.enabled and not self._omdb.breaker.is_open
        found = await self._leases.take(number) if asked else None
        if found is not None:
            return ReadResult(found, "redis")
        try:
            now = clock.utc_now()
            outcome = await self._omdb.by_id(number)
            entry, record = self._understood(number, outcome, away, now)
        except BaseException:
            await self._leases.release(number)
            raise
        self._keep_later(number, entry, record, outcome)
        return ReadResult(entry, "omdb")

    async def take(self, number: int, outcome: Found | Absent, asked_at: datetime) -> int:
        """Stores what OMDb said of a number and puts it into all layers; returns how many titles changed.

        `asked_at` is when OMDb was asked: the answer to an earlier question replaces none to a later one.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
            ParseError: the answer is no title.
        """
        if isinstance(outcome, Found):
            changed = len(await self._store.save([self._record(outcome, asked_at)]))
        else:
            changed = 0
            await self._forget(number, outcome, asked_at)
        begun = self._l1.begin_fill()
        entries = await self._store.get_many([number], fresh=True)
        for found, entry in entries.items():
            self._l1.put(found, entry, begun)
        self._l1.end_fill()
        self._redis.put_later(entries, When.ALWAYS)
        return changed

    async def add(self, found: Sequence[MovieRecord]) -> None:
        """Stores partial records; caches that hold their titles hear of it.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
        """
        changed = await self._store.save(found)
        self._redis.put_later({record.number: of_record(record) for record in changed}, When.SOMETHING_THERE)

    async def settled(self) -> None:
        """Waits until all that was answered is stored, or given up."""
        await asyncio.gather(*self._keeping, return_exceptions=True)

    def _understood(
        self, number: int, outcome: Outcome, away: MarqueeError | None, now: datetime
    ) -> tuple[Entry, MovieRecord | None]:
        """The entry of what OMDb said when asked at `now`, and the record unless it is an absence."""
        what = names.movie_name(number)
        if isinstance(outcome, Failed):
            raise away or refused(outcome, what)
        if isinstance(outcome, Absent):
            if away is not None:
                raise away
            return self._absence(now), None
        try:
            record = self._record(outcome, now)
        except parse.ParseError as error:
            log.warning("%s: OMDb's answer is no title: %s", what, error)
            raise away or refused(Failed(Failure.MALFORMED, str(error), 60), what) from error
        return of_record(record), record

    def _keep_later(self, number: int, entry: Entry, record: MovieRecord | None, outcome: Outcome) -> None:
        task = asyncio.get_running_loop().create_task(self._keep(number, entry, record, outcome))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep(self, number: int, entry: Entry, record: MovieRecord | None, outcome: Outcome) -> None:
        """Tells the other replicas what has been answered, and stores it."""
        self._l1.will_write((number,))
        await self._redis.put({number: entry}, When.ALWAYS)
        await self._leases.release(number)
        if len(self._keeping) > _MAX_SAVES:
            metrics.UNSAVED.inc()
        else:
            await self._save(number, record, outcome)

    async def _save(self, number: int, record: MovieRecord | None, outcome: Outcome) -> None:
        """Stores what has been answered; gives up after some seconds."""
        for attempt in range(_SAVE_ATTEMPTS):
            try:
                if record is not None:
                    await self._store.save([record])
                elif isinstance(outcome, Absent):
                    await self._forget(number, outcome, clock.utc_now())
                return
            except MarqueeError:
                await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
        metrics.UNSAVED.inc()
        log.warning("%s could not be stored: the primary is away", names.movie_name(number))

    def _record(self, found: Found, now: datetime) -> MovieRecord:
        return records.from_answer(found.body, found.raw, now, self._freshness)

    async def _forget(self, number: int, absent: Absent, now: datetime) -> None:
        """Remembers that a number is no title; if it is known as one, that it need not be asked for soon."""
        fresh_until = now + timedelta(seconds=records.spread(self._freshness.absent_s))
        again = now + timedelta(seconds=records.spread(self._freshness.recent_s))
        await self._store.mark_absent(number, absent.reason, now, fresh_until, again)

    def _absence(self, now: datetime) -> Entry:
        fresh_until = now.timestamp() + records.spread(self._freshness.absent_s)
        return Entry(b"", "", 0, now.timestamp(), fresh_until)


def refused(failed: Failed, what: str) -> MarqueeError:
    """The error of a title that is not known while OMDb can't be asked."""
    if failed.failure is Failure.OFF:
        return errors.not_found("MOVIE_NOT_FOUND", f"{what} is not known here, and OMDb is not asked")
    return errors.unavailable(
        "OMDB_UNAVAILABLE",
        f"{what} is not known here, and OMDb can't be asked now ({failed.failure})",
        retry_after=max(1.0, failed.retry_after),
    )


def overdue(what: str) -> MarqueeError:
    """The error of a title that is not known while OMDb takes longer than the caller waits."""
    return errors.unavailable(
        "OMDB_UNAVAILABLE", f"{what} is not known here, and OMDb did not answer in time", retry_after=2
    )
