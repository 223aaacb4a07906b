# ruff: noqa: S608 - statements are put together from the constants of this file only
"""All SQL of ranking_svc."""

import contextlib
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from mesh.postgres import Connection, Postgres
from ranking_svc.events import Delta, deltas, log_heats
from ranking_svc.formula import NO_MEAN, Formula
from ranking_svc.model import Change, Facts, Histogram, Tally

_PORTION: Final = 2000

_COUNTS: Final = ", ".join(f"h{score}" for score in range(1, 11))
_TALLY: Final = f"""
    SELECT movie, votes, total, {_COUNTS}, heat_day, heat_week, heat_month,
           extract(epoch FROM update_time)::float8, changed::text::bigint
    FROM scores"""
_FACTS: Final = """
    SELECT movie, title, year, type, genres, box_office_usd, changed::text::bigint FROM facts"""

_CHARTED_FACTS: Final = f"""{_FACTS} AS f
    WHERE box_office_usd IS NOT NULL OR EXISTS (SELECT FROM scores AS s WHERE s.movie = f.movie)"""
_FORMULA: Final = """
    SELECT generation, prior_votes, prior_mean, votes, extract(epoch FROM now() - built_at)::float8
    FROM formula"""

# All transactions before the oldest that is under way have ended: what changes after this state was
# taken has that number or a higher one.
_HORIZON: Final = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, (SELECT generation FROM formula)"""

# The ids are in ascending order, as are the movies below: two consumers that
# deal with the same events after a rebalance then wait for one another and never lock up.
_TAKE: Final = """
    INSERT INTO inbox (event_id) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING RETURNING event_id"""

_ADD: Final = f"""
    INSERT INTO scores AS s (movie, {_COUNTS}, heat_day, heat_week, heat_month)
    SELECT * FROM unnest($1::int[], {", ".join(f"${i}::int[]" for i in range(2, 12))},
                         $12::float8[], $13::float8[], $14::float8[])
    ON CONFLICT (movie) DO UPDATE SET
        {", ".join(f"h{i} = s.h{i} + excluded.h{i}" for i in range(1, 11))},
        heat_day = log2_plus(s.heat_day, excluded.heat_day),
        heat_week = log2_plus(s.heat_week, excluded.heat_week),
        heat_month = log2_plus(s.heat_month, excluded.heat_month),
        update_time = excluded.update_time,
        changed = excluded.changed
    RETURNING movie, xmax = 0 AS is_new"""

# Locks nothing that `_ADD` has not locked before it in the same transaction.
_COOL: Final = """
    UPDATE scores AS s SET
        heat_day = log2_minus(s.heat_day, d.day),
        heat_week = log2_minus(s.heat_week, d.week),
        heat_month = log2_minus(s.heat_month, d.month)
    FROM unnest($1::int[], $2::float8[], $3::float8[], $4::float8[]) AS d (movie, day, week, month)
    WHERE s.movie = d.movie"""

_REQUEST: Final = """
    INSERT INTO fact_requests (movie)
    SELECT movie FROM unnest($1::int[]) AS n (movie)
    WHERE NOT EXISTS (SELECT FROM facts AS f WHERE f.movie = n.movie)
    ORDER BY movie ON CONFLICT DO NOTHING"""

_PRUNE: Final = """
    WITH oldest AS (SELECT event_id, taken_at FROM inbox ORDER BY event_id LIMIT $2)
    DELETE FROM inbox WHERE event_id IN (
        SELECT event_id FROM oldest WHERE taken_at < now() - make_interval(secs => $1))"""

_PUT_FACTS: Final = """
    INSERT INTO facts AS f (movie, title, year, type, genres, box_office_usd, change_time)
    VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7))
    ON CONFLICT (movie) DO UPDATE SET
        title = excluded.title, year = excluded.year, type = excluded.type, genres = excluded.genres,
        box_office_usd = excluded.box_office_usd, change_time = excluded.change_time,
        changed = excluded.changed
    WHERE f.change_time < excluded.change_time"""

_CLAIM: Final = """
    UPDATE fact_requests SET attempts = attempts + 1, next_try = now() + make_interval(secs => $2)
    WHERE movie IN (SELECT movie FROM fact_requests WHERE next_try <= now()
                    ORDER BY next_try LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING movie, attempts"""

_MEASURE: Final = """
    INSERT INTO formula AS f (generation, prior_votes, prior_mean, votes, built_at)
    VALUES (1, $1, $2, $3, now())
    ON CONFLICT (only_row) DO UPDATE SET
        generation = f.generation + 1, prior_votes = excluded.prior_votes,
        prior_mean = excluded.prior_mean, votes = excluded.votes, built_at = excluded.built_at
    RETURNING generation, prior_votes, prior_mean"""

_REPAIR: Final = f"""
    INSERT INTO scores AS s (movie, {_COUNTS})
    VALUES ($1, {", ".join(f"${i}" for i in range(2, 12))})
    ON CONFLICT (movie) DO UPDATE SET
        {", ".join(f"h{i} = excluded.h{i}" for i in range(1, 11))},
        update_time = excluded.update_time, changed = excluded.changed
    WHERE ({", ".join(f"s.h{i}" for i in range(1, 11))}) = ({", ".join(f"${i}" for i in range(12, 22))})"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: the changes that were counted, and how many had been before."""

    changes: Sequence[Change]
    duplicates: int


@dataclass(frozen=True, slots=True)
class FormulaState:
    """The formula in force, how many votes it was measured over, and how old it is, in seconds."""

    formula: Formula
    votes: int
    age_s: float


@dataclass(frozen=True, slots=True)
class News:
    """What has changed since a horizon, and the horizon to ask from next."""

    horizon: int
    generation: int
    tallies: Sequence[Tally]
    facts: Sequence[Facts]


class Store:
    """The schema `ranking_svc`. Everything raises UNAVAILABLE while the database is away."""

    def __init__(self, postgres: Postgres) -> None:
        self._pg = postgres

    # Aggregates

    async def apply(self, changes: Iterable[Change]) -> Taken:
        """Counts changes, each event id once, all of them or none."""
        by_id = {change.event_id: change for change in changes}
        async with self._pg.write() as connection:
            rows = await connection.fetch(_TAKE, sorted(by_id))
            fresh = [by_id[row[0]] for row in rows]
            if fresh:
                await _add(connection, deltas(fresh))
        return Taken(fresh, len(by_id) - len(fresh))

    async def prune_inbox(self, older_than_s: float, limit: int) -> int:
        """Forgets up to `limit` of the oldest events; gives how many it were.

        It looks at the smallest ids only, and so stops early at one that is
        young: that one goes when it is old.
        """
        async with self._pg.write() as connection:
            return _affected(await connection.execute(_PRUNE, older_than_s, limit))

    # Facts

    async def put_facts(self, facts: Mapping[int, tuple[Facts, float]]) -> None:
        """Keeps facts with their change times; older ones than those known are passed over."""
        ordered = sorted(facts.items())
        async with self._pg.write() as connection:
            await connection.executemany(
                _PUT_FACTS,
                [
                    (movie, f.title, f.year, f.type, list(f.genres), f.box_office_usd, time)
                    for movie, (f, time) in ordered
                ],
            )
            await connection.execute(
                "DELETE FROM fact_requests WHERE movie = ANY($1::int[])", [movie for movie, _ in ordered]
            )

    async def claim_requests(self, limit: int, lease_s: float) -> dict[int, int]:
        """Takes movies whose facts must be asked for, with how often they were; others can't take them
        for `lease_s` seconds.
        """
        async with self._pg.write() as connection:
            rows = await connection.fetch(_CLAIM, limit, lease_s)
        return {row["movie"]: row["attempts"] for row in rows}

    async def postpone_requests(self, delays_s: Mapping[int, float]) -> None:
        """Asks for movies again after so many seconds each."""
        async with self._pg.write() as connection:
            await connection.executemany(
                "UPDATE fact_requests SET next_try = now() + make_interval(secs => $2) WHERE movie = $1",
                sorted(delays_s.items()),
            )

    # The formula

    async def formula(self, *, fresh: bool = False) -> FormulaState | None:
        """The formula in force; None before the first rebuild."""
        row = await self._pg.fetchrow(_FORMULA, fresh=fresh)
        return None if row is None else _formula_state(row)

    async def measure(self, prior_votes: float, seen: int | None = None) -> Formula | None:
        """Measures C over all votes and puts a new formula in force.

        None if another does just now, or has since the generation `seen`.
        """
        async with self._pg.write() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('rebuild'))"):
                return None
            now = await connection.fetchval("SELECT generation FROM formula")
            if seen is not None and seen != (now or 0):
                return None
            sums = await connection.fetchrow(
                "SELECT coalesce(sum(total), 0)::bigint, coalesce(sum(votes), 0)::bigint "
                "FROM scores WHERE votes > 0"
            )
            assert sums is not None
            mean = sums[0] / sums[1] if sums[1] else NO_MEAN
            row = await connection.fetchrow(_MEASURE, prior_votes, mean, sums[1])
            assert row is not None
            return Formula(*row)

    # Charts

    @contextlib.asynccontextmanager
    async def snapshot(self, *, fresh: bool = False) -> AsyncIterator["Snapshot"]:
        """One state of the database, to load charts from; with `fresh` the primary's."""
        async with (
            self._pg.read(fresh=fresh) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield Snapshot(connection)

    async def news(self, horizon: int) -> News:
        """What has changed since the state that `horizon` is of; may hold what was known already."""
        async with self._pg.read() as connection:
            # The next horizon comes from a state before the changes are read: none can fall between.
            row = await connection.fetchrow(_HORIZON)
            assert row is not None
            tallies = await connection.fetch(_TALLY + " WHERE changed >= $1::text::xid8", str(horizon))
            facts = await connection.fetch(_FACTS + " WHERE changed >= $1::text::xid8", str(horizon))
        return News(row[0], row[1] or 0, [_tally(r) for r in tallies], [_facts(r) for r in facts])

    async def facts_of(self, movies: Sequence[int]) -> list[Facts]:
        """The facts of those movies that there are facts of."""
        rows = await self._pg.fetch(_FACTS + " WHERE movie = ANY($1::int[])", movies)
        return [_facts(row) for row in rows]

    # Reconciliation

    async def histograms_after(self, movie: int, limit: int) -> list[tuple[int, Histogram]]:
        """Movies after `movie` in ascending order with their counts, from the primary."""
        rows = await self._pg.fetch(
            f"SELECT movie, {_COUNTS} FROM scores WHERE movie > $1 ORDER BY movie LIMIT $2",
            movie,
            limit,
            fresh=True,
        )
        return [(row[0], tuple(row[1:])) for row in rows]

    async def histograms_of(self, movies: Iterable[int]) -> dict[int, Histogram]:
        """The counts of those movies that have any, from the primary."""
        rows = await self._pg.fetch(
            f"SELECT movie, {_COUNTS} FROM scores WHERE movie = ANY($1::int[])",
            list(movies),
            fresh=True,
        )
        return {row[0]: tuple(row[1:]) for row in rows}

    async def repair(self, movie: int, seen: Histogram, recount: Histogram) -> bool:
        """Sets a movie's counts to `recount` if they still are what was `seen`."""
        async with self._pg.write() as connection:
            return _affected(await connection.execute(_REPAIR, movie, *recount, *seen)) == 1


class Snapshot:
    """What charts are made of, in one state of the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def horizon(self) -> int:
        """What `Store.news` is to be asked with for what comes after this state."""
        return int(await self._connection.fetchval(_HORIZON))

    async def formula(self) -> FormulaState | None:
        """The formula in force; None before the first rebuild."""
        row = await self._connection.fetchrow(_FORMULA)
        return None if row is None else _formula_state(row)

    async def tallies(self) -> AsyncIterator[list[Tally]]:
        """All aggregates, in portions."""
        async for rows in self._portions(_TALLY):
            yield [_tally(row) for row in rows]

    async def facts(self) -> AsyncIterator[list[Facts]]:
        """The facts of all movies that can stand in a chart, in portions."""
        async for rows in self._portions(_CHARTED_FACTS):
            yield [_facts(row) for row in rows]

    async def _portions(self, query: str) -> AsyncIterator[list[asyncpg.Record]]:
        cursor = await self._connection.cursor(query)
        while rows := await cursor.fetch(_PORTION):
            yield rows


async def _add(connection: Connection, by_movie: Mapping[int, Delta]) -> None:
    counts = zip(*(delta.counts for delta in by_movie.values()), strict=True)
    heats = zip(*(log_heats(delta.came) for delta in by_movie.values()), strict=True)
    rows = await connection.fetch(_ADD, list(by_movie), *map(list, counts), *map(list, heats))
    if gone := [(movie, *log_heats(delta.went)) for movie, delta in by_movie.items() if delta.went]:
        await connection.execute(_COOL, *map(list, zip(*gone, strict=True)))
    if new := [row["movie"] for row in rows if row["is_new"]]:
        await connection.execute(_REQUEST, new)


def _tally(row: asyncpg.Record) -> Tally:
    return Tally(row[0], row[1], row[2], tuple(row[3:13]), tuple(row[13:16]), row[16], row[17])


def _facts(row: asyncpg.Record) -> Facts:
    # Few genres stand in very many rows.
    return Facts(row[0], row[1], row[2], row[3], tuple(map(sys.intern, row[4])), row[5], row[6])


def _formula_state(row: asyncpg.Record) -> FormulaState:
    return FormulaState(Formula(row[0], row[1], row[2]), row[3], row[4])


def _affected(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
