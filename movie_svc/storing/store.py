"""The SQL of movie_svc's titles. Reads go to replicas, writes to the primary.

Searching and listing stand in `movie_svc.storing.listings`.
"""

# ruff: noqa: S608 - what is put into statements is fixed text; values are parameters

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from mesh.hedge import HedgedReads
from mesh.postgres import Connection, Postgres
from mesh.pruning import Aged
from movie_svc import titles
from movie_svc.storing import naming, records
from movie_svc.storing.entries import Entry
from movie_svc.storing.records import Known, MovieRecord

ENTRY: Final = (
    "id, movie, etag, source, extract(epoch FROM fetch_time)::float8 AS fetched_at, "
    "extract(epoch FROM fresh_until)::float8 AS fresh_until"
)
_GET: Final = f"""
SELECT {ENTRY} FROM movies WHERE id = ANY($1::int[])
UNION ALL
SELECT id, ''::bytea, '', 0::smallint, extract(epoch FROM fetch_time)::float8,
       extract(epoch FROM fresh_until)::float8
FROM absent AS a WHERE id = ANY($1::int[]) AND fresh_until > now()
    -- One that was stored while OMDb's "no such title" was being stored.
    AND NOT EXISTS (SELECT FROM movies AS m WHERE m.id = a.id)"""
_KNOWN: Final = """
SELECT id, source, etag, fetch_time, CASE WHEN source <> 1 THEN movie END AS movie
FROM movies WHERE id = ANY($1::int[]) ORDER BY id FOR UPDATE"""
_PUT: Final = """
INSERT INTO movies AS m (id, movie, etag, source, fetch_time, fresh_until, type, title, title_key, words,
                         year, votes, box_office, genres, keyed)
SELECT id, movie, etag, source, fetch_time, fresh_until, type, title, title_key,
       -- Not to_tsvector, which finds words by rules of its own.
       array_to_tsvector(string_to_array(words, ' ')),
       year, votes, box_office, string_to_array(genres, '|'), fetch_time
FROM unnest($1::int[], $2::bytea[], $3::text[], $4::smallint[], $5::timestamptz[], $6::timestamptz[],
            $7::smallint[], $8::text[], $9::text[], $10::text[], $11::smallint[], $12::int[], $13::int[],
            $14::text[])
     AS t(id, movie, etag, source, fetch_time, fresh_until, type, title, title_key, words,
          year, votes, box_office, genres)
ON CONFLICT (id) DO UPDATE SET
    movie = excluded.movie, etag = excluded.etag, source = excluded.source, fetch_time = excluded.fetch_time,
    fresh_until = excluded.fresh_until, type = excluded.type, title = excluded.title,
    title_key = excluded.title_key, words = strip(m.words) || excluded.words, year = excluded.year,
    votes = excluded.votes, box_office = excluded.box_office, genres = excluded.genres, keyed = excluded.keyed
-- Not what came since `_KNOWN` was asked: what is there must be known to say what may replace it.
WHERE m.id = ANY($15::int[])
RETURNING id, clock_timestamp() AS stored"""
_PUT_ANSWERS: Final = """
INSERT INTO answers (id, body, fetch_time)
SELECT * FROM unnest($1::int[], $2::bytea[], $3::timestamptz[])
ON CONFLICT (id) DO UPDATE SET body = excluded.body, fetch_time = excluded.fetch_time"""
# Two who store the same new titles in batches may each wait for the other; one of them begins again.
_ATTEMPTS: Final = 5
# In two steps, so that each takes an index.
NAMED: Final = (
    "(title_key = ANY({keys}) OR id = ANY(ARRAY(SELECT movie_id FROM names WHERE key = ANY({keys}))))"
)
_TYPE_FILTER: Final = "($3::smallint = 0 OR type = $3)"


@dataclass(frozen=True, slots=True)
class Lookup:
    """What OMDb said to a look-up by title."""

    number: int | None
    """None: there is no such title."""


@dataclass(frozen=True, slots=True)
class Titled:
    """A title that was looked up by its name."""

    number: int
    entry: Entry
    asked: bool
    """Whether OMDb was asked for that name recently."""


OUTBOX_CHANNEL: Final = "movie_outbox"
_QUEUE: Final = f"""
WITH queued AS (INSERT INTO outbox (movie_id, event) SELECT * FROM unnest($1::int[], $2::bytea[]))
SELECT pg_notify('{OUTBOX_CHANNEL}', '')"""

AGED: Final = [
    Aged("absent", "id", "fresh_until", 0.0),
    Aged("lookups", "title_key, year, type", "fresh_until", 0.0),
    Aged("searches", "query, year, type, page", "fresh_until", 0.0),
]
"""What says nothing any more: absences, look-ups and searches that are not fresh."""


class Store:
    """Titles in PostgreSQL."""

    def __init__(self, postgres: Postgres, reads: HedgedReads) -> None:
        self._pg = postgres
        self._reads = reads

    async def get_many(self, numbers: Collection[int], *, fresh: bool = False) -> dict[int, Entry]:
        """What is known of the numbers, in one round trip; with `fresh` as the primary knows it."""
        rows = await self._reads.fetch(_GET, list(numbers), fresh=fresh)
        return {row["id"]: entry(row) for row in rows}

    async def save(self, found: Sequence[MovieRecord]) -> list[MovieRecord]:
        """Stores records, and an event for each whose content has changed; returns those, as they are now.

        A full answer replaces any partial record, and is never replaced by one,
        nor by an older answer; partial records of a title are merged.
        """
        changed: list[MovieRecord] = []
        left = records.one_each(found)
        attempts = 0
        while left:
            try:
                attempts += 1
                known, now_changed = await self._save(left)
            except asyncpg.DeadlockDetectedError:
                if attempts == _ATTEMPTS:
                    raise
                continue
            changed += now_changed
            left = {number: record for number, record in left.items() if number not in known}
        return changed

    async def _save(self, found: Mapping[int, MovieRecord]) -> tuple[set[int], list[MovieRecord]]:
        """Stores records in one transaction; returns the numbers that have been decided on, and what changed.

        What is left over came in from elsewhere at this moment.
        """
        numbers = sorted(found)
        async with self._pg.write() as connection:
            known = {row["id"]: row for row in await connection.fetch(_KNOWN, numbers)}
            combined = {
                number: records.combined(found[number], _known(known.get(number))) for number in numbers
            }
            wanted = [record for record in combined.values() if record is not None]
            await naming.remember(connection, found.values())
            stored = await _put(connection, wanted, known)
            await connection.execute("DELETE FROM absent WHERE id = ANY($1::int[])", numbers)
            written = [record for record in wanted if record.number in stored]
            changed = [r for r in written if r.number not in known or known[r.number]["etag"] != r.etag]
            await _announce(connection, changed, stored)
        return {n for n, record in combined.items() if record is None or n in stored}, changed

    async def mark_absent(
        self, number: int, reason: str, fetch_time: datetime, fresh_until: datetime, again: datetime
    ) -> None:
        """Remembers that OMDb says a number is no title. One that is known stays, fresh until `again`."""
        async with self._pg.write() as connection:
            known = await connection.execute(
                "UPDATE movies SET fresh_until = greatest(fresh_until, $2) WHERE id = $1", number, again
            )
            if known == "UPDATE 0":
                await connection.execute(
                    """INSERT INTO absent (id, reason, fetch_time, fresh_until) VALUES ($1, $2, $3, $4)
                       ON CONFLICT (id) DO UPDATE SET reason = $2, fetch_time = $3, fresh_until = $4""",
                    number,
                    reason,
                    fetch_time,
                    fresh_until,
                )

    async def due(self, limit: int) -> list[int]:
        """The best-known titles that are not fresh."""
        rows = await self._reads.fetch(
            "SELECT id FROM movies WHERE fresh_until < now() ORDER BY votes DESC, id DESC LIMIT $1", limit
        )
        return [row["id"] for row in rows]

    async def by_title(
        self, keys: Sequence[str], year: int | None, kind: int, *, fresh: bool
    ) -> Titled | None:
        """The best-known title of that name: by its first key, by another one, or also called so."""
        row = await self._reads.fetchrow(
            f"""SELECT {ENTRY}, EXISTS (
                    SELECT FROM lookups
                    WHERE title_key = $4 AND year = coalesce($2, 0) AND type = $3 AND fresh_until > now()
                ) AS asked
                FROM movies
                WHERE {NAMED.format(keys="$1::text[]")}
                      AND ($2::smallint IS NULL OR year = $2) AND {_TYPE_FILTER}
                ORDER BY title_key = $1[1] DESC, title_key = ANY($1) DESC, votes DESC, source, id LIMIT 1""",
            keys,
            year,
            kind,
            _lookup_key(keys),
            fresh=fresh,
        )
        return Titled(row["id"], entry(row), row["asked"]) if row else None

    async def looked_up(
        self, keys: Sequence[str], year: int | None, kind: int, *, fresh: bool
    ) -> Lookup | None:
        """What OMDb said to this look-up, if that is still fresh."""
        row = await self._reads.fetchrow(
            """SELECT movie_id FROM lookups
               WHERE title_key = $1 AND year = $2 AND type = $3 AND fresh_until > now()""",
            _lookup_key(keys),
            year or 0,
            kind,
            fresh=fresh,
        )
        return Lookup(row["movie_id"]) if row else None

    async def remember_lookup(
        self, keys: Sequence[str], year: int | None, kind: int, number: int | None, fresh_until: datetime
    ) -> None:
        async with self._pg.write() as connection:
            await connection.execute(
                """INSERT INTO lookups (title_key, year, type, movie_id, fresh_until)
                   VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (title_key, year, type) DO UPDATE SET movie_id = $4, fresh_until = $5""",
                _lookup_key(keys),
                year or 0,
                kind,
                number,
                fresh_until,
            )

    async def full_plot(self, number: int, *, fresh: bool) -> tuple[str | None, bool] | None:
        """The full plot (None: OMDb has none) and whether it is fresh; None if it was never asked for."""
        row = await self._reads.fetchrow(
            "SELECT plot, fresh_until > now() AS fresh FROM full_plots WHERE id = $1", number, fresh=fresh
        )
        return (row["plot"], row["fresh"]) if row else None

    async def save_full_plot(self, number: int, plot: str | None, fresh_until: datetime) -> None:
        async with self._pg.write() as connection:
            await connection.execute(
                """INSERT INTO full_plots (id, plot, fresh_until) VALUES ($1, $2, $3)
                   ON CONFLICT (id) DO UPDATE SET plot = $2, fresh_until = $3""",
                number,
                plot,
                fresh_until,
            )

    async def imported_lines(self, file: str) -> int:
        """How many lines of a file have been imported."""
        return int(
            await self._reads.fetchval("SELECT lines FROM imports WHERE file = $1", file, fresh=True) or 0
        )

    async def note_import(self, file: str, lines: int) -> None:
        async with self._pg.write() as connection:
            await connection.execute(
                """INSERT INTO imports (file, lines, update_time) VALUES ($1, $2, now())
                   ON CONFLICT (file) DO UPDATE SET lines = $2, update_time = now()""",
                file,
                lines,
            )


def entry(row: asyncpg.Record) -> Entry:
    return Entry(row["movie"], row["etag"], row["source"], row["fetched_at"], row["fresh_until"])


def _lookup_key(keys: Sequence[str]) -> str:
    """What a look-up is kept by: keys by other rules, which another release may write, are never the same."""
    return f"{titles.RULES}:{keys[0]}"


def _known(row: asyncpg.Record | None) -> Known | None:
    return Known(row["source"], row["etag"], row["fetch_time"], row["movie"]) if row else None


async def _put(
    connection: Connection, found: Sequence[MovieRecord], known: Collection[int]
) -> dict[int, datetime]:
    """Writes records, over those that are `known` alone; returns the numbers of those that were, and when."""
    if not found:
        return {}
    rows = await connection.fetch(
        _PUT,
        [r.number for r in found],
        [r.data for r in found],
        [r.etag for r in found],
        [r.source for r in found],
        [r.fetch_time for r in found],
        [r.fresh_until for r in found],
        [r.type for r in found],
        [r.title for r in found],
        [r.title_key for r in found],
        [r.words for r in found],
        [r.year or 0 for r in found],
        [-1 if r.votes is None else r.votes for r in found],
        [r.box_office for r in found],
        ["|".join(r.genres) for r in found],
        list(known),
    )
    stored = {row["id"]: row["stored"] for row in rows}
    answers = [
        (r.number, zlib.compress(r.answer), r.fetch_time)
        for r in found
        if r.number in stored and r.answer is not None
    ]
    if answers:
        await connection.execute(_PUT_ANSWERS, *(list(column) for column in zip(*answers, strict=True)))
    return stored


async def _announce(
    connection: Connection, changed: Sequence[MovieRecord], stored: Mapping[int, datetime]
) -> None:
    if changed:
        await connection.execute(
            _QUEUE,
            [r.number for r in changed],
            [records.changed_event(r.data, stored[r.number]) for r in changed],
        )
