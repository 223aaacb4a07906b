# ruff: noqa: S608 - statements are put together from the constants of this file only
"""The SQL of ranking_svc: aggregates and facts. That of charts and of the formula stands in `store_*.py`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh.kafka.event_ids import OFFSETS
from mesh.postgres import Connection, affected
from ranking_svc.basis import Basis, holds
from ranking_svc.model import Change, Counted, Delta, Facts, Histogram, deltas
from ranking_svc.store_charts import COUNTS, ChartStore
from ranking_svc.store_formula import FormulaStore
from ranking_svc.store_life import begin, repairing, writing
from ranking_svc.store_verification import VerificationStore
from ranking_svc.trending import log_heats

# The ids are in ascending order, as are the movies below: two consumers that
# process the same events after a rebalance then wait for one another and never deadlock.
_TAKE: Final = """
    INSERT INTO inbox (event_id, redriven) SELECT * FROM unnest($1::bigint[], $2::bool[])
    ON CONFLICT DO NOTHING RETURNING event_id"""
_BASES: Final = "SELECT movie, basis FROM repaired WHERE movie = ANY($1::int[])"

_COUNTED_UP_TO: Final = """
    SELECT p.start, (SELECT max(event_id) FROM inbox WHERE event_id >= p.start AND event_id < p.start + $2)
    FROM unnest($1::bigint[]) AS p (start)"""

_ADD: Final = f"""
    INSERT INTO scores AS s (movie, {COUNTS}, heat_day, heat_week, heat_month)
    SELECT * FROM unnest($1::int[], {", ".join(f"${i}::int[]" for i in range(2, 12))},
                         $12::float8[], $13::float8[], $14::float8[])
    ON CONFLICT (movie) DO UPDATE SET
        {", ".join(f"h{i} = s.h{i} + excluded.h{i}" for i in range(1, 11))},
        heat_day = log2_plus(s.heat_day, excluded.heat_day),
        heat_week = log2_plus(s.heat_week, excluded.heat_week),
        heat_month = log2_plus(s.heat_month, excluded.heat_month),
        update_time = excluded.update_time,
        changed = excluded.changed, version = s.version + 1
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

_PUT_FACTS: Final = """
    INSERT INTO facts AS f (movie, title, year, type, genres, box_office_usd, change_time)
    VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7))
    ON CONFLICT (movie) DO UPDATE SET
        title = excluded.title, year = excluded.year, type = excluded.type, genres = excluded.genres,
        box_office_usd = excluded.box_office_usd, change_time = excluded.change_time,
        changed = excluded.changed, version = f.version + 1
    WHERE f.change_time < excluded.change_time"""

_CLAIM: Final = """
    UPDATE fact_requests SET attempts = attempts + 1, next_try = now() + make_interval(secs => $2)
    WHERE movie IN (SELECT movie FROM fact_requests WHERE next_try <= now()
                    ORDER BY next_try LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING movie, attempts"""

_REPAIR: Final = f"""
    INSERT INTO scores AS s (movie, {COUNTS})
    VALUES ($1, {", ".join(f"${i}" for i in range(2, 12))})
    ON CONFLICT (movie) DO UPDATE SET
        {", ".join(f"h{i} = excluded.h{i}" for i in range(1, 11))},
        update_time = excluded.update_time, changed = excluded.changed, version = s.version + 1
    WHERE s.version = $22 AND ({", ".join(f"s.h{i}" for i in range(1, 11))})
        = ({", ".join(f"${i}" for i in range(12, 22))})"""
_REPAIRED: Final = """
    INSERT INTO repaired (movie, basis) VALUES ($1, $2)
    ON CONFLICT (movie) DO UPDATE SET basis = excluded.basis, repaired_at = excluded.repaired_at"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: the changes that were counted, and how many had been before."""

    changes: Sequence[Change]
    duplicates: int


class Store(ChartStore, FormulaStore, VerificationStore):
    """The schema `ranking_svc`. Everything raises UNAVAILABLE while the database is away."""

    # Aggregates

    async def apply(self, changes: Iterable[Change]) -> Taken:
        """Counts changes, each event id once, all of them or none."""
        async with self._postgres.write() as connection:
            return await take(connection, changes)

    # Facts

    async def put_facts(self, facts: Mapping[int, tuple[Facts, float]]) -> None:
        """Keeps facts with their change times; older ones than those known are passed over."""
        async with self._postgres.write() as connection:
            await put_facts(connection, facts)

    async def claim_requests(self, limit: int, lease_s: float) -> dict[int, int]:
        """Takes movies whose facts must be asked for, with how often they were; others can't take them
        for `lease_s` seconds.
        """
        async with writing(self._postgres) as connection:
            rows = await connection.fetch(_CLAIM, limit, lease_s)
        return {row["movie"]: row["attempts"] for row in rows}

    async def postpone_requests(self, delays_s: Mapping[int, float]) -> None:
        """Asks for movies again after so many seconds each."""
        async with writing(self._postgres) as connection:
            await connection.executemany(
                "UPDATE fact_requests SET next_try = now() + make_interval(secs => $2) WHERE movie = $1",
                sorted(delays_s.items()),
            )

    # Reconciliation

    async def histograms_after(self, movie: int, limit: int) -> list[tuple[int, Histogram]]:
        """Movies after `movie` in ascending order with their counts, from the primary."""
        rows = await self._postgres.fetch(
            f"SELECT movie, {COUNTS} FROM scores WHERE movie > $1 ORDER BY movie LIMIT $2",
            movie,
            limit,
            fresh=True,
        )
        return [(row[0], tuple(row[1:])) for row in rows]

    async def counts_of(self, movies: Iterable[int]) -> dict[int, Counted]:
        """The aggregates of those movies that have one, from the primary."""
        rows = await self._postgres.fetch(
            f"SELECT movie, version, {COUNTS} FROM scores WHERE movie = ANY($1::int[])",
            list(movies),
            fresh=True,
        )
        return {row[0]: Counted(row[1], tuple(row[2:])) for row in rows}

    async def counted_up_to(self, starts: Iterable[int]) -> dict[int, int]:
        """Of partitions of the log of ratings, by their first ids: the last id that was counted, if any."""
        rows = await self._postgres.fetch(_COUNTED_UP_TO, list(starts), OFFSETS, fresh=True)
        return {start: last for start, last in rows if last is not None}

    async def repair(self, movie: int, seen: Counted, recount: Histogram, basis: Basis) -> bool:
        """Sets a movie's counts to `recount`, which is of `basis`, if they still are what was `seen`."""
        async with writing(self._postgres) as connection:
            # Who has asked for a movie's basis must not count behind a repair's back.
            await repairing(connection)
            done = await connection.execute(_REPAIR, movie, *recount, *seen.counts, seen.version)
            if affected(done) == 1 and basis:
                await connection.execute(_REPAIRED, movie, basis)
            return affected(done) == 1


async def take(connection: Connection, changes: Iterable[Change]) -> Taken:
    """Counts changes in a transaction, each event id once."""
    by_id = {change.event_id: change for change in changes}
    await begin(connection, counting=True)
    ids = sorted(by_id)
    rows = await connection.fetch(_TAKE, ids, [by_id[one].redriven for one in ids])
    fresh = [by_id[row[0]] for row in rows]
    if fresh:
        rows = await connection.fetch(_BASES, list({change.movie for change in fresh}))
        bases = {row[0]: row[1] for row in rows}
        fresh = [one for one in fresh if not holds(bases.get(one.movie, ()), one.event_id)]
        await _add(connection, deltas(fresh))
    return Taken(fresh, len(by_id) - len(fresh))


async def put_facts(connection: Connection, facts: Mapping[int, tuple[Facts, float]]) -> None:
    """Keeps facts in a transaction; see `Store.put_facts`."""
    ordered = sorted(facts.items())
    await begin(connection)
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


async def _add(connection: Connection, by_movie: Mapping[int, Delta]) -> None:
    if not by_movie:
        return
    counts = zip(*(delta.counts for delta in by_movie.values()), strict=True)
    heats = zip(*(log_heats(delta.came) for delta in by_movie.values()), strict=True)
    rows = await connection.fetch(_ADD, list(by_movie), *map(list, counts), *map(list, heats))
    if gone := [(movie, *log_heats(delta.went)) for movie, delta in by_movie.items() if delta.went]:
        await connection.execute(_COOL, *map(list, zip(*gone, strict=True)))
    if new := [row["movie"] for row in rows if row["is_new"]]:
        await connection.execute(_REQUEST, new)
