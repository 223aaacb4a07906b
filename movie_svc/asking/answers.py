"""The one home of what OMDb answered: how it comes into the tables, Redis, and this process's memory.

Answers to readers can't wait for a primary that is away: those are kept if
possible (`unless_away`), or in the background (`store_patiently`), and OMDb is
asked again if they were not.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import stamina

from mesh import clock
from mesh.errors import MarqueeError
from movie_svc.caching.cache import L1, RedisCache, When
from movie_svc.config import FreshnessConfig
from movie_svc.omdb.outcome import Absent, Found
from movie_svc.storing import records
from movie_svc.storing.entries import Entry, of_record
from movie_svc.storing.listings import Listings, SearchedPage
from movie_svc.storing.records import MovieRecord
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)

_PATIENTLY: Final = stamina.AsyncRetryingCaller(
    attempts=5, timeout=None, wait_initial=1.0, wait_max=8.0, wait_jitter=0
).on(MarqueeError)
"""Calls what writes again while the primary is away: five times within some 15 s."""


class OmdbAnswers:
    """Keeps what OMDb answered."""

    def __init__(
        self, l1: L1, redis: RedisCache, store: Store, listings: Listings, freshness: FreshnessConfig
    ) -> None:
        self._l1 = l1
        self._redis = redis
        self._store = store
        self._listings = listings
        self._freshness = freshness

    def record(self, found: Found, asked_at: datetime) -> MovieRecord:
        """The record of an answer to a question that was asked at that time.

        Raises:
            ParseError: it is no title.
        """
        return records.from_answer(found.body, found.raw, asked_at, self._freshness)

    def absence(self, asked_at: datetime) -> Entry:
        """What the caches hold of a number that OMDb says is no title."""
        return Entry(
            b"", "", 0, asked_at.timestamp(), self._until(asked_at, self._freshness.absent_s).timestamp()
        )

    async def share(self, number: int, entry: Entry) -> None:
        """Tells the other replicas, by Redis, what is answered and not stored yet."""
        self._l1.will_write((number,))
        await self._redis.put({number: entry}, When.ALWAYS)

    async def store_patiently(self, number: int, answer: MovieRecord | Absent) -> None:
        """Stores an answer; tries again for some seconds while the primary is away.

        Raises:
            MarqueeError: UNAVAILABLE, it still is.
        """
        if isinstance(answer, Absent):
            await _PATIENTLY(lambda: self._mark_absent(number, answer, clock.utc_now()))
        else:
            await _PATIENTLY(lambda: self._store.save([answer]))

    async def keep(self, number: int, answer: Found | Absent, asked_at: datetime) -> int:
        """Stores an answer that nobody waits for, and puts what is stored then into all layers.

        An answer to an earlier question replaces none to a later one. Returns how many titles changed.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
            ParseError: the answer is no title.
        """
        changed: Sequence[MovieRecord] = ()
        if isinstance(answer, Found):
            changed = await self._store.save([self.record(answer, asked_at)])
        else:
            await self._mark_absent(number, answer, asked_at)
        begun = self._l1.begin_fill()
        try:
            entries = await self._store.get_many([number], fresh=True)
            for found, entry in entries.items():
                self._l1.put(found, entry, begun)
        finally:
            self._l1.end_fill()
        self._redis.put_later(entries, When.ALWAYS)
        return len(changed)

    async def keep_lines(self, lines: Sequence[MovieRecord]) -> None:
        """Stores lines of OMDb's search results, which are partial; caches that hold their titles hear of it.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
        """
        self._redis.put_later(_entries(await self._store.save(lines)), When.SOMETHING_THERE)

    async def keep_imported(self, found: Sequence[MovieRecord]) -> int:
        """As `keep_lines`, of any records, patiently. Returns how many titles changed.

        Raises:
            MarqueeError: UNAVAILABLE, the primary stayed away.
        """
        changed = await _PATIENTLY(lambda: self._store.save(found))
        await self._redis.put(_entries(changed), When.SOMETHING_THERE)
        return len(changed)

    async def keep_lookup(self, keys: Sequence[str], year: int | None, kind: int, number: int | None) -> None:
        """Remembers which title a look-up found, None if none, unless the primary is away."""
        fresh_until = self._until(clock.utc_now(), self._freshness.absent_s)
        with unless_away():
            await self._store.remember_lookup(keys, year, kind, number, fresh_until)

    async def keep_search(
        self, query: str, year: int | None, kind: int, page: int, result: SearchedPage
    ) -> None:
        """Remembers a page of search results, unless the primary is away."""
        fresh_until = self._until(clock.utc_now(), self._freshness.search_s)
        with unless_away():
            await self._listings.remember_search(query, year, kind, page, result, fresh_until)

    async def keep_full_plot(self, number: int, plot: str | None) -> None:
        """Remembers a full plot, None if there is none, unless the primary is away."""
        fresh_until = self._until(clock.utc_now(), self._freshness.old_s)
        with unless_away():
            await self._store.save_full_plot(number, plot, fresh_until)

    async def _mark_absent(self, number: int, absent: Absent, asked_at: datetime) -> None:
        """Remembers that a number is no title; if it is known as one, that it need not be asked for soon."""
        fresh_until = self._until(asked_at, self._freshness.absent_s)
        again = self._until(asked_at, self._freshness.recent_s)
        await self._store.mark_absent(number, absent.reason, asked_at, fresh_until, again)

    def _until(self, start: datetime, seconds: float) -> datetime:
        return start + timedelta(seconds=records.spread(seconds))


@contextlib.contextmanager
def unless_away() -> Iterator[None]:
    """For storing what is answered in any case: without the primary it is asked for again next time."""
    try:
        yield
    except MarqueeError as error:
        log.warning("not stored: %s", error)


def _entries(changed: Sequence[MovieRecord]) -> dict[int, Entry]:
    return {record.number: of_record(record) for record in changed}
