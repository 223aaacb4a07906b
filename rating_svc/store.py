"""The ratings in PostgreSQL. All SQL of rating_svc stands here and in `migrations/`."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import asyncpg

from mesh import outbox
from mesh.hedge import HedgedReads
from mesh.kafka import dead_letters
from mesh.kafka.event_ids import OFFSETS
from mesh.kafka.retention import Retention
from mesh.postgres import Connection, Postgres
from mesh.pruning import Aged
from mesh.together import Batches
from rating_svc import slot_rows
from rating_svc.collapse import Identity, Step
from rating_svc.config import WORKERS
from rating_svc.slot_rows import of_slots
from rating_svc.slots import Claims
from rating_svc.submissions import Position

OUTBOX_CHANNEL: Final = "rating_outbox"

_AT_ONCE: Final = 4
"""Batches of single ratings under way to the database, at most."""
_LARGEST: Final = 32
"""Ratings of such a batch, at most."""
_ALONE_S: Final = 0.02
"""For how long such a batch is alone, in seconds: far over what the database takes for one."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

# For a few users at once. The arrays come out of subqueries, so that the planner can't count their items: so
# its general plan seems as good to it as one for these items, and it keeps that. Planned for each call again,
# with 16 partitions, the statement would cost the server four times as much. OFFSET 0 keeps it from joining
# the keys to whole partitions by a hash, as it does where it believes them empty.
GET: Final = """
SELECT r.* FROM unnest((SELECT $1::text[]), (SELECT $2::int[])) AS k (user_id, movie_id) CROSS JOIN LATERAL (
    SELECT movie_id, score, create_time, update_time, log_epoch, log_offset, user_id FROM ratings
    WHERE user_id = k.user_id AND movie_id = k.movie_id OFFSET 0) AS r"""

# One statement, so that both halves come from one snapshot of one server: the rows that writes are
# pending for, deleted or not, and a page of the others.
LIST: Final = """
SELECT movie_id, score, create_time, update_time, log_epoch, log_offset FROM ratings
WHERE user_id = $1 AND movie_id = ANY ($2::int[])
UNION ALL
(SELECT movie_id, score, create_time, update_time, log_epoch, log_offset FROM ratings
 WHERE user_id = $1 AND score IS NOT NULL AND movie_id <> ALL ($2::int[])
   AND (update_time, movie_id) < ($3, $4) AND score BETWEEN $5 AND $6
 ORDER BY update_time DESC, movie_id DESC LIMIT $7)"""

EXPORT: Final = """
SELECT movie_id, score, create_time, update_time, log_epoch, log_offset FROM ratings
WHERE user_id = $1 AND movie_id > $2 ORDER BY movie_id LIMIT $3"""

# In the order of the key: two workers that meet on the same keys wait for one another, and never deadlock.
# A repeat makes its identity as young as itself: the log may hold it for longer than the first one.
_REMEMBER_REQUESTS: Final = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::smallint[])
        WITH ORDINALITY AS s (user_id, request_id, movie_id, score, number)
), seen AS (
    INSERT INTO seen_requests AS r (user_id, request_id, movie_id, score)
    SELECT user_id, request_id, movie_id, score FROM given
    ORDER BY user_id COLLATE "C", request_id, movie_id, score
    ON CONFLICT (user_id, request_id, movie_id, score) DO UPDATE SET seen_at = excluded.seen_at
    WHERE r.seen_at < excluded.seen_at - $5::interval
    RETURNING new.user_id, new.request_id, new.movie_id, new.score, old.seen_at IS NULL AS fresh
)
SELECT number::int FROM given AS g WHERE NOT EXISTS (
    SELECT FROM seen AS s WHERE s.fresh AND (s.user_id, s.request_id, s.movie_id, s.score)
        = (g.user_id COLLATE "C", g.request_id, g.movie_id, g.score))"""

# Of each rating's steps, those that are later than the row was have moved it, one after the other.
_APPLY: Final = f"""
WITH steps AS (
    SELECT * FROM unnest($1::text[], $2::int[], $3::smallint[], $4::timestamptz[], $5::timestamptz[],
                         $6::smallint[], $7::bigint[], $8::bigint[], $9::boolean[], $10::text[])
        AS s (user_id, movie_id, score, first_time, submit_time, log_epoch, log_offset, event_id, last, trace)
), applied AS (
    INSERT INTO ratings AS r (user_id, movie_id, score, create_time, update_time, log_epoch, log_offset)
    SELECT user_id, movie_id, score, first_time, submit_time, log_epoch, log_offset FROM steps WHERE last
    ORDER BY user_id COLLATE "C", movie_id
    ON CONFLICT (user_id, movie_id) DO UPDATE SET
        score = excluded.score,
        create_time = coalesce(r.create_time, excluded.create_time),
        update_time = excluded.update_time,
        log_epoch = excluded.log_epoch,
        log_offset = excluded.log_offset
    WHERE (r.log_epoch, r.log_offset) < (excluded.log_epoch, excluded.log_offset)
    RETURNING new.user_id, new.movie_id, old.score AS old_score, old.log_epoch AS epoch, old.log_offset AS at
), moved AS (
    SELECT s.event_id, s.movie_id, s.submit_time, s.trace, s.score AS new_score,
           CASE WHEN row_number() OVER steps_of = 1 THEN a.old_score ELSE lag(s.score) OVER steps_of END
               AS old_score
    FROM applied AS a JOIN steps AS s ON s.user_id COLLATE "C" = a.user_id AND s.movie_id = a.movie_id
    WHERE a.epoch IS NULL OR (a.epoch, a.at) < (s.log_epoch, s.log_offset)
    WINDOW steps_of AS (PARTITION BY s.user_id, s.movie_id ORDER BY s.log_epoch, s.log_offset)
), queued AS (
    INSERT INTO outbox (event_id, movie_id, old_score, new_score, submit_time, trace)
    OVERRIDING SYSTEM VALUE
    SELECT event_id, movie_id, old_score, new_score, submit_time, trace FROM moved
    WHERE old_score IS DISTINCT FROM new_score ORDER BY event_id
    RETURNING number
)
SELECT (SELECT count(*)::int FROM applied) AS applied, (SELECT count(*)::int FROM queued) AS changed,
       CASE WHEN EXISTS (SELECT FROM queued) THEN pg_notify('{OUTBOX_CHANNEL}', '') END"""  # noqa: S608

_HISTOGRAM: Final = ", ".join(f"count(*) FILTER (WHERE score = {score})::int" for score in range(1, 11))
# The planner weighs the time to the last row; here the first ones should go out while the others are
# still counted, from however large a table: walk the index, and hash and sort nothing.
# It only reads, so that a reader may take its time between two portions.
TOTALS_PLAN: Final = (
    "SET LOCAL enable_hashagg = off; SET LOCAL enable_sort = off; "
    "SET LOCAL idle_in_transaction_session_timeout = '60s'"
)
_TOTALS: Final = f"SELECT movie_id, {_HISTOGRAM} FROM ratings WHERE score IS NOT NULL"  # noqa: S608
_BY_MOVIE: Final = " GROUP BY movie_id ORDER BY movie_id"
_OF_SOME: Final = " AND movie_id = ANY ($1::int[])"
TOTALS_OF_ALL: Final = _TOTALS + _BY_MOVIE
TOTALS_OF_SOME: Final = _TOTALS + _OF_SOME + _BY_MOVIE
# Where users have moved away, or are about to come.
_TOTALS_OF_SLOTS: Final = f"{_TOTALS} AND {of_slots('$1::int[]', '$2::int')}{_BY_MOVIE}"
_TOTALS_OF_SOME_OF_SLOTS: Final = f"{_TOTALS}{_OF_SOME} AND {of_slots('$2::int[]', '$3::int')}{_BY_MOVIE}"

# Of a partition that lost its end, all that an earlier epoch had was stored.
STORED_UP_TO: Final = """
SELECT l.epoch, o.partition,
       CASE WHEN l.epoch = max(l.epoch) OVER (PARTITION BY o.topic_id, o.partition)
            THEN o.next_offset ELSE $2 END
FROM kafka_offsets AS o JOIN submission_log AS l
    ON l.topic_id = o.topic_id AND (l.partition IS NULL OR l.partition = o.partition)
WHERE o.reader = $1 ORDER BY 1, 2"""


@dataclass(frozen=True, slots=True)
class Row:
    """A rating as the database has it."""

    movie: int
    score: int | None
    """None: deleted."""
    create_us: int | None
    """When it was first rated, in microseconds since 1970; None if never."""
    update_us: int
    position: Position


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did to the database, in numbers of ratings."""

    applied: int
    """Rows written."""
    changed: int
    """Changes of a score: that many went into the outbox."""


class RatingStore:
    """What the RPC front reads."""

    def __init__(self, postgres: Postgres, hedged: HedgedReads) -> None:
        self._postgres = postgres
        self._hedged = hedged
        # Most of what a read costs is the way to the server, and that is shared.
        self._got = tuple(
            Batches(partial(self._rows_of, fresh=fresh), at_once=_AT_ONCE, largest=_LARGEST, alone_s=_ALONE_S)
            for fresh in (False, True)
        )

    def _reads(self, *, fresh: bool) -> Postgres | HedgedReads:
        """Who is asked: a replica that hangs is not waited for; the primary is, as no other is fresh."""
        return self._postgres if fresh else self._hedged

    async def get(self, user: str, movie: int, *, fresh: bool) -> Row | None:
        """A user's row for a movie; `fresh` asks the primary.

        Raises:
            MarqueeError: UNAVAILABLE if no database answers.
        """
        key = (user, movie)
        return (await self._got[fresh].load([key])).get(key)

    async def _rows_of(self, keys: Sequence[tuple[str, int]], *, fresh: bool) -> dict[tuple[str, int], Row]:
        users, movies = [user for user, _ in keys], [movie for _, movie in keys]
        found = await self._reads(fresh=fresh).fetch(GET, users, movies, fresh=fresh)
        return {(record["user_id"], record["movie_id"]): _row(record) for record in found}

    async def page(
        self,
        user: str,
        pending: Sequence[int],
        before: tuple[int, int] | None,
        scores: tuple[int, int],
        limit: int,
        *,
        fresh: bool,
    ) -> tuple[dict[int, Row], list[Row]]:
        """The rows that writes are pending for, and a page of the others, the last changed first.

        Args:
            pending: the movies that writes are pending for.
            before: (microseconds since 1970, movie) of the last of the page before.
            scores: the lowest and the highest score to list.
            limit: rows of the page, at most.

        Raises:
            MarqueeError: UNAVAILABLE if no database answers.
        """
        micros, movie = before or (_FAR_FUTURE_US, 0)
        found = await self._reads(fresh=fresh).fetch(
            LIST, user, list(pending), to_time(micros), movie, *scores, limit, fresh=fresh
        )
        wanted = set(pending)
        rows = [_row(record) for record in found]
        page = [row for row in rows if row.movie not in wanted]
        page.sort(key=lambda row: (row.update_us, row.movie), reverse=True)
        return {row.movie: row for row in rows if row.movie in wanted}, page

    async def after(self, user: str, movie: int, limit: int, *, fresh: bool) -> list[Row]:
        """A user's rows for movies behind `movie`, in the order of movies, deleted or not.

        Raises:
            MarqueeError: UNAVAILABLE if no database answers.
        """
        reads = self._reads(fresh=fresh)
        return [_row(record) for record in await reads.fetch(EXPORT, user, movie, limit, fresh=fresh)]


Portion: TypeAlias = list[tuple[int, list[int]]]
"""Movies with their ten counts, in the order of movies."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot of the ratings of one database."""

    connection: Connection
    waiting: int
    """Changes in the outbox."""
    stored: Sequence[tuple[int, int, int]]
    """Up to which offset the log was stored, by epoch and partition."""
    claims: Claims
    """Which slots the database has."""

    async def counted(
        self, movies: Sequence[int], chunk: int, slots: Sequence[int] | None = None
    ) -> AsyncIterator[Portion]:
        """The ratings counted by movie, in portions.

        Args:
            movies: only these; all, if empty.
            slots: of users in these alone; None: of all.
        """
        args: list[Any] = [list(movies)] if movies else []
        query = TOTALS_OF_SOME if movies else TOTALS_OF_ALL
        if slots is not None:
            args += [list(slots), self.claims.total]
            query = _TOTALS_OF_SOME_OF_SLOTS if movies else _TOTALS_OF_SLOTS
        cursor = await self.connection.cursor(query, *args)
        while rows := await cursor.fetch(chunk, timeout=_TOTALS_TIMEOUT_S):
            yield [(row[0], list(row[1:])) for row in rows]


@contextlib.asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[Snapshot]:
    """One snapshot of the ratings, for as long as the block lasts."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(TOTALS_PLAN)
        waiting = await connection.fetchval(outbox.COUNT)
        stored = [(row[0], row[1], row[2]) for row in await connection.fetch(STORED_UP_TO, WORKERS, OFFSETS)]
        yield Snapshot(connection, waiting, stored, await slot_rows.read(connection))


async def remember_requests(
    connection: Connection, identities: Sequence[Identity], refresh_s: float
) -> set[Identity]:
    """Remembers identities, all of them different; returns those that had been seen before."""
    users, requests, movies, scores = map(list, zip(*identities, strict=True))
    rows = await connection.fetch(
        _REMEMBER_REQUESTS, users, requests, movies, scores, timedelta(seconds=refresh_s)
    )
    return {identities[row[0] - 1] for row in rows}


async def apply(connection: Connection, steps: Sequence[Step]) -> Applied:
    """Takes those steps that are later in the log than what the rows have; queues what they changed."""
    # A batch's submissions were taken at the same time.
    times = {us: to_time(us) for step in steps for us in (step.submit_us, step.first_us) if us is not None}
    row = await connection.fetchrow(
        _APPLY,
        [s.user for s in steps],
        [s.movie for s in steps],
        [s.score for s in steps],
        [None if s.first_us is None else times[s.first_us] for s in steps],
        [times[s.submit_us] for s in steps],
        [s.position.epoch for s in steps],
        [s.position.offset for s in steps],
        [s.event_id for s in steps],
        [s.last for s in steps],
        [s.trace or None for s in steps],
    )
    assert row is not None
    return Applied(row["applied"], row["changed"])


def aged(retention: Retention) -> list[Aged]:
    """What no copy of a message in the log can need any more."""
    return [
        Aged("seen_requests", "user_id, request_id, movie_id, score", "seen_at", retention.remember_s),
        Aged("ratings", "user_id, movie_id", "update_time", retention.tombstones_s, "score IS NULL"),
        dead_letters.aged(retention.remember_s),
    ]


def to_time(micros: int) -> datetime:
    """Microseconds since 1970 → time."""
    return _EPOCH + timedelta(microseconds=micros)


def to_us(time: datetime) -> int:
    """Time → microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


_FAR_FUTURE_US: Final = to_us(datetime(9000, 1, 1, tzinfo=UTC))
_TOTALS_TIMEOUT_S: Final = 60.0


def _row(record: asyncpg.Record) -> Row:
    created = record[2]
    return Row(
        record[0],
        record[1],
        None if created is None else to_us(created),
        to_us(record[3]),
        Position(record[4], record[5]),
    )
