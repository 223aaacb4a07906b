"""Finding titles by name: here first, then at OMDb, whose answers are kept for the next one who asks."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from marquee.movies.v1 import movies_pb2

from mesh import clock, errors
from mesh.errors import MarqueeError
from mesh.single_flight import SingleFlight
from mesh.switches import OMDB_SEARCH
from movie_svc import titles
from movie_svc.asking.answers import OmdbAnswers, unless_away
from movie_svc.asking.asker import ReadResult, overdue, refused
from movie_svc.asking.refresh_queue import RefreshQueue
from movie_svc.omdb import parse
from movie_svc.omdb.client import MAX_PAGE, PAGE_SIZE, Omdb
from movie_svc.omdb.outcome import Absent, Failed, Failure, Found
from movie_svc.reader import MovieReader
from movie_svc.storing import records
from movie_svc.storing.entries import Entry, of_record
from movie_svc.storing.listings import Filters, Listings, Page, SearchedPage
from movie_svc.storing.store import Store
from movie_svc.storing.typos import Typos

log = logging.getLogger(__name__)

Cursor = dict[str, Any]
# Longer than a replica that gets reads may be behind.
_SETTLE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Results:
    """One page of a search, and where the next one starts; None after the last."""

    entries: Sequence[Entry]
    cursor: Cursor | None
    asked_omdb: bool


@dataclass(frozen=True, slots=True)
class _Hits:
    """A page of OMDb's results."""

    page: SearchedPage
    entries: Mapping[int, Entry]
    """Those that were just stored: a replica may not have them yet."""


class Finder:
    """Looks titles up by name and searches for them."""

    def __init__(
        self,
        store: Store,
        listings: Listings,
        typos: Typos,
        reader: MovieReader,
        answers: OmdbAnswers,
        omdb: Omdb,
        refresh_queue: RefreshQueue,
    ) -> None:
        self._store = store
        self._listings = listings
        self._typos = typos
        self._reader = reader
        self._answers = answers
        self._omdb = omdb
        self._refresh_queue = refresh_queue
        self._lookups: SingleFlight[Entry | None] = SingleFlight()
        self._pages: SingleFlight[_Hits | Failed] = SingleFlight()

    async def lookup(self, title: str, year: int | None, kind: int, timeout_s: float) -> ReadResult:
        """The best-known title of that name.

        Raises:
            MarqueeError: NOT_FOUND if there is none, UNAVAILABLE if nobody can say.
        """
        keys = titles.keys(title)
        key = keys[0]
        what = f"a title {title!r}" + (f" of {year}" if year else "")
        # A replica may not have it yet: before OMDb is asked, so is the primary.
        for fresh in (False, True):
            stored = await self._store.by_title(keys, year, kind, fresh=fresh)
            if stored is not None:
                if stored.entry.fresh_until < clock.now():
                    self._refresh_queue.add(stored.number)
                if year is None and not stored.asked:
                    # OMDb may know a better-known one: whoever asks next gets that.
                    self._lookups.start(
                        (key, year, kind), lambda: self._ask_by_title(title, keys, year, kind, what)
                    )
                return ReadResult(stored.entry, "postgres")
            known = await self._store.looked_up(keys, year, kind, fresh=fresh)
            if known is None:
                continue
            if known.number is None:
                raise _no_such(what)
            return await self._reader.get(known.number, timeout_s)
        try:
            answered = await self._lookups.join(
                (key, year, kind), lambda: self._ask_by_title(title, keys, year, kind, what), timeout_s
            )
        except TimeoutError:
            raise overdue(what) from None
        if answered is None:
            raise _no_such(what)
        return ReadResult(answered, "omdb")

    async def search(
        self, text: str, year: int | None, kind: int, size: int, cursor: Cursor | None, timeout_s: float
    ) -> Results:
        """A page of titles that hold the words: known ones, OMDb's others, then those spelled nearly so.

        What OMDb finds is stored meanwhile; so that nothing comes twice or is
        left out, a search sees what had been stored some seconds before it began
        (all replicas have that), and takes the rest from OMDb's pages.

        Raises:
            MarqueeError: UNAVAILABLE if nothing is known and OMDb can't be asked.
        """
        deadline = time.monotonic() + timeout_s
        began = cursor["t"] if cursor else clock.now() - _SETTLE_S
        before = datetime.fromtimestamp(began, UTC)
        filters = Filters(first_year=year, last_year=year, type=kind)
        entries: list[Entry] = []
        asked = False
        cursor = cursor or {"l": None}
        if "l" in cursor:
            page = await self._listings.search(text, filters, before, size, cursor["l"])
            if page.cursor is not None:
                return Results(page.entries, {"t": began, "l": page.cursor}, asked)
            entries += page.entries
            cursor = {"o": [1, 0]}
        place: list[int] | None = cursor.get("o")
        failed: Failed | None = None
        while place is not None and len(entries) < size:
            asked = True
            hits = await self._hits(text, year, kind, place[0], deadline - time.monotonic())
            if isinstance(hits, Failed):
                failed, place = hits, None
                break
            found, used = await self._others(text, filters, before, hits, place[1], size - len(entries))
            entries += found
            if used < len(hits.page.numbers):
                place = [place[0], used]
            elif place[0] < min(MAX_PAGE, -(-hits.page.total // PAGE_SIZE)):
                place = [place[0] + 1, 0]
            else:
                place = None
        if place is not None:
            return Results(entries, {"t": began, "o": place}, asked)
        # Only what leaves room is filled with what is spelled a little differently.
        nearly = await self._nearly(text, year, kind, before, size - len(entries), cursor.get("n"))
        entries += nearly.entries
        if not entries and failed is not None and failed.failure is not Failure.OFF:
            raise refused(failed, f"a title with {text!r}")
        following = None if nearly.cursor is None else {"t": began, "n": nearly.cursor}
        return Results(entries, following, asked)

    async def _nearly(
        self,
        text: str,
        year: int | None,
        kind: int,
        before: datetime,
        size: int,
        cursor: Sequence[int] | None,
    ) -> Page:
        """A page of what is spelled a little differently, without what OMDb found of it."""
        found = await self._listings.all_searched(_query(text), year, kind)
        filters = Filters(first_year=year, last_year=year, type=kind)
        return await self._typos.search(text, filters, before, size, cursor, found)

    async def _ask_by_title(
        self, title: str, keys: Sequence[str], year: int | None, kind: int, what: str
    ) -> Entry | None:
        """OMDb's answer to a look-up, None if it has none; what it answers instead is stored too."""
        now = clock.utc_now()
        outcome = await self._omdb.by_title(title, year, kind)
        if isinstance(outcome, Failed):
            raise refused(outcome, what)
        entry = None
        number = None
        if isinstance(outcome, Found):
            try:
                record = self._answers.record(outcome, now)
            except parse.ParseError as error:
                raise refused(Failed(Failure.MALFORMED, str(error), 60), what) from error
            if _is_the_one(record, keys, year, kind):
                entry, number = of_record(record), record.number
            else:
                log.info("asked for %s, OMDb answered %r (%s)", what, record.title, record.year)
            with unless_away():
                await self._answers.keep(record.number, outcome, now)
        await self._answers.keep_lookup(keys, year, kind, number)
        return entry

    async def _hits(
        self, text: str, year: int | None, kind: int, page: int, timeout_s: float
    ) -> _Hits | Failed:
        query = _query(text)
        for fresh in (False, True):
            known = await self._listings.searched(query, year, kind, page, fresh=fresh)
            if known is not None:
                return _Hits(known, {})
        if not OMDB_SEARCH.on:
            return Failed(Failure.OFF, "OMDb is not searched now", 60)
        try:
            return await self._pages.join(
                (query, year, kind, page),
                lambda: self._ask_for_page(query, year, kind, page),
                max(0.0, timeout_s),
            )
        except TimeoutError:
            return Failed(Failure.TIMEOUT, "OMDb did not answer in time", 2)

    async def _ask_for_page(self, query: str, year: int | None, kind: int, page: int) -> _Hits | Failed:
        now = clock.utc_now()
        outcome = await self._omdb.search(query, year, kind, page)
        if isinstance(outcome, Failed):
            return outcome
        found = [] if isinstance(outcome, Absent) else _lines(outcome.body, now)
        total = 0 if isinstance(outcome, Absent) else _total(outcome.body)
        result = SearchedPage(total, [record.number for record in found])
        if found:
            with unless_away():
                await self._answers.keep_lines(found)
        await self._answers.keep_search(query, year, kind, page, result)
        return _Hits(result, {record.number: of_record(record) for record in found})

    async def _others(
        self, text: str, filters: Filters, before: datetime, hits: _Hits, start: int, wanted: int
    ) -> tuple[list[Entry], int]:
        """Up to `wanted` of OMDb's hits from `start` on that the search here lacks; where it ended."""
        numbers = list(hits.page.numbers)
        given = await self._listings.already_found(text, filters, before, numbers)
        wanted_numbers = [n for n in numbers[start:] if n not in given]
        stored = {**hits.entries, **await self._store.get_many(wanted_numbers)}
        if missing := [n for n in wanted_numbers if n not in stored]:
            # A replica may not have yet what the last page has stored.
            stored.update(await self._store.get_many(missing, fresh=True))
        found: list[Entry] = []
        position = start
        while position < len(numbers) and len(found) < wanted:
            number = numbers[position]
            position += 1
            entry = stored.get(number)
            if number not in given and entry is not None and not entry.absent:
                found.append(entry)
        return found, position


def _query(text: str) -> str:
    """What OMDb is asked for, and its answers are kept by."""
    return " ".join(text.casefold().split())


def _is_the_one(record: records.MovieRecord, keys: Sequence[str], year: int | None, kind: int) -> bool:
    return (
        not set(keys).isdisjoint(titles.keys(record.title))
        and (year is None or record.year == year)
        and (kind == movies_pb2.MOVIE_TYPE_UNSPECIFIED or record.type == kind)
    )


def _lines(body: Mapping[str, Any], now: datetime) -> list[records.MovieRecord]:
    found: dict[int, records.MovieRecord] = {}
    for line in body.get("Search") or ():
        try:
            record = records.from_search(line, now)
        except parse.ParseError as error:
            log.info("a search result is no title: %s", error)
            continue
        found.setdefault(record.number, record)
    return list(found.values())


def _total(body: Mapping[str, Any]) -> int:
    text = str(body.get("totalResults", "0"))
    return int(text) if text.isdigit() else 0


def _no_such(what: str) -> MarqueeError:
    return errors.not_found("MOVIE_NOT_FOUND", f"there is no such title: {what}")
