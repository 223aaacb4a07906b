"""The SQL of the formula: the one in force, and the settings that there are."""

from dataclasses import dataclass
from typing import Final

import asyncpg

from mesh.postgres import Connection, Postgres
from ranking_svc.formula import NO_MEAN, Formula
from ranking_svc.store_life import writing

FORMULA: Final = """
    SELECT generation, prior_votes, prior_mean, votes, extract(epoch FROM now() - built_at)::float8
    FROM formula"""

# One that nobody was alive with is new again. Written again once half of its time is over.
_DECLARE: Final = """
    INSERT INTO formula_settings AS s (prior_votes, alive_until)
    VALUES ($1, now() + make_interval(secs => $2))
    ON CONFLICT (prior_votes) DO UPDATE SET
        declared_at = CASE WHEN s.alive_until < now() THEN excluded.declared_at ELSE s.declared_at END,
        alive_until = excluded.alive_until
    WHERE s.alive_until < excluded.alive_until - make_interval(secs => $2 / 2)"""
_NEWEST: Final = """
    SELECT prior_votes FROM formula_settings WHERE alive_until >= now()
    ORDER BY declared_at DESC, prior_votes LIMIT 1"""

_SUMS: Final = """
    SELECT coalesce(sum(total), 0)::bigint, coalesce(sum(votes), 0)::bigint FROM scores WHERE votes > 0"""
_MEASURE: Final = """
    INSERT INTO formula AS f (generation, prior_votes, prior_mean, votes, built_at)
    VALUES (1, $1, $2, $3, now())
    ON CONFLICT (only_row) DO UPDATE SET
        generation = f.generation + 1, prior_votes = excluded.prior_votes,
        prior_mean = excluded.prior_mean, votes = excluded.votes, built_at = excluded.built_at
    RETURNING generation, prior_votes, prior_mean"""


@dataclass(frozen=True, slots=True)
class FormulaState:
    """The formula in force, how many votes it was measured over, and how old it is, in seconds."""

    formula: Formula
    votes: int
    age_s: float


class FormulaStore:
    """The tables `formula` and `formula_settings`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def formula(self, *, fresh: bool = False) -> FormulaState | None:
        """The formula in force; None before the first rebuild."""
        return formula_state(await self._postgres.fetchrow(FORMULA, fresh=fresh))

    async def declare(self, prior_votes: float, lease_s: float) -> float:
        """Says that a process with this m is alive, for `lease_s` seconds; returns the m to have in force."""
        async with writing(self._postgres) as connection:
            return await _declare(connection, prior_votes, lease_s)

    async def measure(self, prior_votes: float, lease_s: float, seen: int | None = None) -> Formula | None:
        """Declares m, measures C over all votes, and puts a new formula in force, under the newest m.

        None if another does just now, or has since the generation `seen`.
        """
        async with writing(self._postgres) as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('rebuild'))"):
                return None
            now = await connection.fetchval("SELECT generation FROM formula")
            if seen is not None and seen != (now or 0):
                return None
            newest = await _declare(connection, prior_votes, lease_s)
            sums = await connection.fetchrow(_SUMS)
            assert sums is not None
            mean = sums[0] / sums[1] if sums[1] else NO_MEAN
            row = await connection.fetchrow(_MEASURE, newest, mean, sums[1])
            assert row is not None
            return Formula(*row)


def formula_state(row: asyncpg.Record | None) -> FormulaState | None:
    """The answer to FORMULA."""
    return None if row is None else FormulaState(Formula(row[0], row[1], row[2]), row[3], row[4])


async def _declare(connection: Connection, prior_votes: float, lease_s: float) -> float:
    await connection.execute(_DECLARE, prior_votes, lease_s)
    return float(await connection.fetchval(_NEWEST))
