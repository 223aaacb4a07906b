# ruff: noqa: S608 - statements are put together from the constants of this file only
"""The SQL of charts: all of them at once, what has changed, and a portion to compare."""

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import asyncpg

from mesh.postgres import Connection, Postgres
from ranking_svc.formula import Formula
from ranking_svc.horizon import Horizon, State
from ranking_svc.model import Facts, Tally

_PORTION: Final = 2000

COUNTS: Final = ", ".join(f"h{score}" for score in range(1, 11))

_LIFE: Final = "(SELECT (extract(epoch FROM since) * 1000000)::bigint FROM life)"
_TALLY: Final = f"""
    SELECT movie, votes, total, {COUNTS}, heat_day, heat_week, heat_month,
           extract(epoch FROM update_time)::float8, changed::text::bigint, version, {_LIFE}
    FROM scores AS t"""
_FACTS: Final = f"""
    SELECT movie, title, year, type, genres, box_office_usd, changed::text::bigint, version, {_LIFE}
    FROM facts AS t"""
_CHARTED: Final = "(box_office_usd IS NOT NULL OR EXISTS (SELECT FROM scores AS s WHERE s.movie = t.movie))"

# What a replica has replayed ended on the primary before the last of it did.
_STATE: Final = f"""
    SELECT {_LIFE}, pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint,
           extract(epoch FROM clock_timestamp())::float8,
           extract(epoch FROM CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp()
                                   ELSE clock_timestamp() END)::float8,
           generation, prior_votes, prior_mean
    FROM pg_current_snapshot() AS s LEFT JOIN formula ON true"""
_SINCE: Final = """ WHERE changed >= $1::text::xid8
    AND NOT EXISTS (SELECT FROM unnest($2::bigint[]) AS seen (x) WHERE x = changed::text::bigint)"""
_AFTER: Final = " movie > $1 ORDER BY movie LIMIT $2"

T = TypeVar("T", Tally, Facts)


@dataclass(frozen=True, slots=True)
class News:
    """What has changed since a horizon, the state that it was read from, and the formula in force there."""

    state: State
    formula: Formula | None
    tallies: Sequence[Tally]
    facts: Sequence[Facts]

    def changed(self) -> set[int]:
        """The transactions that made it."""
        return {tally.changed for tally in self.tallies} | {facts.changed for facts in self.facts}


@dataclass(frozen=True, slots=True)
class Portion(Generic[T]):
    """Rows in the order of movies, and the state that they were read from or an earlier one."""

    state: State
    rows: Sequence[T]
    last: bool
    """Whether no more follow."""


class ChartStore:
    """What charts are made of. Everything raises UNAVAILABLE while no database answers."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @contextlib.asynccontextmanager
    async def snapshot(self, *, fresh: bool = False) -> AsyncIterator["Snapshot"]:
        """One state of the database, to load charts from; with `fresh` the primary's."""
        async with self._state(fresh=fresh) as connection:
            yield Snapshot(connection)

    async def news(self, horizon: Horizon) -> News:
        """What has changed since a horizon."""
        async with self._state() as connection:
            state, formula = await _read_state(connection)
            asked = str(horizon.start), list(horizon.seen)
            tallies = await connection.fetch(_TALLY + _SINCE, *asked)
            facts = await connection.fetch(_FACTS + _SINCE, *asked)
        return News(state, formula, [_tally(r) for r in tallies], [_facts(r) for r in facts])

    async def tallies_after(self, movie: int, limit: int, *, fresh: bool = False) -> Portion[Tally]:
        """The next aggregates; with `fresh` the primary's."""
        state, rows = await self._portion(f"{_TALLY} WHERE {_AFTER}", movie, limit, fresh)
        return Portion(state, [_tally(row) for row in rows], len(rows) < limit)

    async def facts_after(self, movie: int, limit: int, *, fresh: bool = False) -> Portion[Facts]:
        """The next facts of movies that can stand in a chart; with `fresh` the primary's."""
        state, rows = await self._portion(f"{_FACTS} WHERE {_CHARTED} AND {_AFTER}", movie, limit, fresh)
        return Portion(state, [_facts(row) for row in rows], len(rows) < limit)

    async def facts_of(self, movies: Sequence[int]) -> list[Facts]:
        """The facts of those movies that there are facts of."""
        rows = await self._postgres.fetch(_FACTS + " WHERE movie = ANY($1::int[])", movies)
        return [_facts(row) for row in rows]

    @contextlib.asynccontextmanager
    async def _state(self, *, fresh: bool = False) -> AsyncIterator[Connection]:
        async with (
            self._postgres.read(fresh=fresh) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _portion(
        self, query: str, movie: int, limit: int, fresh: bool
    ) -> tuple[State, list[asyncpg.Record]]:
        async with self._postgres.read(fresh=fresh) as connection:
            state, _ = await _read_state(connection)
            return state, await connection.fetch(query, movie, limit)


class Snapshot:
    """What charts are made of, in one state of the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def state(self) -> tuple[State, Formula | None]:
        """Which state it is, and the formula in force; None before the first rebuild."""
        return await _read_state(self._connection)

    async def tallies(self) -> AsyncIterator[list[Tally]]:
        """All aggregates, in portions."""
        async for rows in self._portions(_TALLY):
            yield [_tally(row) for row in rows]

    async def facts(self) -> AsyncIterator[list[Facts]]:
        """The facts of all movies that can stand in a chart, in portions."""
        async for rows in self._portions(f"{_FACTS} WHERE {_CHARTED}"):
            yield [_facts(row) for row in rows]

    async def _portions(self, query: str) -> AsyncIterator[list[asyncpg.Record]]:
        cursor = await self._connection.cursor(query)
        while rows := await cursor.fetch(_PORTION):
            yield rows


async def _read_state(connection: Connection) -> tuple[State, Formula | None]:
    row = await connection.fetchrow(_STATE)
    assert row is not None
    state = State(row[0] or 0, row[1], row[2], row[3], row[4])
    return state, None if row[5] is None else Formula(row[5], row[6], row[7])


_lives: Final = {0: 0}


def _life(life: int | None) -> int:
    # One number stands in every row.
    return _lives.setdefault(life or 0, life or 0)


def _tally(row: asyncpg.Record) -> Tally:
    heat = (row[13], row[14], row[15])
    return Tally(row[0], row[1], row[2], tuple(row[3:13]), heat, row[16], row[17], row[18], _life(row[19]))


def _facts(row: asyncpg.Record) -> Facts:
    # Few genres stand in very many rows.
    genres = tuple(map(sys.intern, row[4]))
    return Facts(row[0], row[1], row[2], row[3], genres, row[5], row[6], row[7], _life(row[8]))
