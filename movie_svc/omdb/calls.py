"""The SQL of the calls to OMDb: one row, by the primary's clock, counts those of all replicas."""

from dataclasses import dataclass
from datetime import date
from typing import Final

import asyncpg

from mesh.postgres import Postgres

# $1 rate (1/s), $2 burst, $3 the day's ceiling for this purpose, $4 how many more to hold in reserve,
# $5 the day's ceiling for those. A time that lies ahead is of another primary's clock: the bucket is full.
_TAKE: Final = """
WITH held AS (
    SELECT *, clock_timestamp() AS at, (clock_timestamp() AT TIME ZONE 'UTC')::date AS today
    FROM omdb_calls FOR UPDATE
), filled AS (
    SELECT at, today, CASE WHEN day = today THEN used ELSE 0 END AS spent,
           CASE WHEN filled_at = '-infinity' OR filled_at > at + interval '5 s' THEN $2::float8
                ELSE least($2::float8, tokens + greatest(0, extract(epoch FROM at - filled_at)::float8) * $1)
           END AS level
    FROM held
), judged AS (
    SELECT *, CASE WHEN spent >= $3::int THEN -1 WHEN level < 1 THEN 0 ELSE 1 END AS verdict FROM filled
), granted AS (
    SELECT *, CASE WHEN verdict = 1 THEN greatest(0, least($4::int, $5::int - spent - 1)) ELSE 0 END AS extra
    FROM judged
), counted AS (
    UPDATE omdb_calls SET day = today, used = spent + 1 + extra, tokens = level - 1, filled_at = at
    FROM granted WHERE verdict = 1
)
SELECT verdict, extra, today, CASE WHEN verdict = 1 THEN spent + 1 + extra ELSE spent END AS used,
       greatest(0, (1 - level) / $1)::float8 AS wait_s,
       extract(epoch FROM (today + 1)::timestamp AT TIME ZONE 'UTC' - at)::float8 AS day_left_s
FROM granted"""
# $1 how many, $2 the day's ceiling for them. No call is made, so that the rate is as it was.
_SET_ASIDE: Final = """
WITH held AS (
    SELECT *, (clock_timestamp() AT TIME ZONE 'UTC')::date AS today FROM omdb_calls FOR UPDATE
), spent AS (
    SELECT today, CASE WHEN day = today THEN used ELSE 0 END AS spent FROM held
), granted AS (
    SELECT *, greatest(0, least($1::int, $2::int - spent)) AS extra FROM spent
), counted AS (
    UPDATE omdb_calls SET day = today, used = spent + extra FROM granted WHERE extra > 0
)
SELECT extra, today, spent + extra AS used FROM granted"""
# After a table was emptied: as the migration does it.
_BEGIN: Final = """
INSERT INTO omdb_calls (day, used, tokens, filled_at) VALUES ('-infinity', 0, 'infinity', '-infinity')
ON CONFLICT DO NOTHING"""
_RETURN: Final = "UPDATE omdb_calls SET used = greatest(0, used - $1) WHERE day = $2"


@dataclass(frozen=True, slots=True)
class SetAside:
    """Calls that were counted before they are made."""

    extra: int
    """How many more are held in reserve for this replica."""
    day: int
    """The day that they belong to, as its proleptic ordinal."""
    used: int
    """Calls of the day."""


@dataclass(frozen=True, slots=True)
class Verdict(SetAside):
    """What became of asking for a call."""

    granted: bool
    day_used: bool
    """Whether it was refused for the day's sake; else it is only too fast."""
    retry_after: float
    """Seconds."""


class Calls:
    """Counts calls in PostgreSQL."""

    def __init__(self, postgres: Postgres) -> None:
        self._pg = postgres

    async def take(self, rate: float, burst: int, ceiling: int, reserve: int, spare: int) -> Verdict:
        """Counts one call if it may go, and up to `reserve` more while the day's count is below `spare`.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
        """
        row = await self._ask(_TAKE, rate, burst, ceiling, reserve, spare)
        day_used = row["verdict"] < 0
        return Verdict(
            granted=row["verdict"] > 0,
            extra=row["extra"],
            day=row["today"].toordinal(),
            used=row["used"],
            day_used=day_used,
            retry_after=row["day_left_s"] if day_used else row["wait_s"],
        )

    async def set_aside(self, count: int, spare: int) -> SetAside:
        """Counts up to so many calls that are not made yet, while the day's count is below `spare`.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
        """
        row = await self._ask(_SET_ASIDE, count, spare)
        return SetAside(extra=row["extra"], day=row["today"].toordinal(), used=row["used"])

    async def give_back(self, count: int, day: int) -> None:
        """Uncounts calls that were held in reserve and never made.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away.
        """
        async with self._pg.write() as connection:
            await connection.execute(_RETURN, count, date.fromordinal(day))

    async def _ask(self, query: str, *args: float) -> asyncpg.Record:
        async with self._pg.write() as connection:
            row = await connection.fetchrow(query, *args)
            if row is None:
                await connection.execute(_BEGIN)
                row = await connection.fetchrow(query, *args)
        assert row is not None
        return row
