"""The lives of the log in PostgreSQL: the SQL of `submission_log`.

Where there are several databases, the first one numbers lives and the others
have copies: a rating keeps its place in the order when it moves.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import asyncpg

from mesh.kafka import TopicIdentity
from mesh.kafka.event_ids import EPOCHS
from mesh.postgres import Connection, Postgres
from rating_svc.registry import Life
from rating_svc.slots import Own

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('submission log of ' || current_user))"
_ALL: Final = "SELECT epoch, topic, topic_id, partitions, partition, ends FROM submission_log ORDER BY epoch"
_BEGIN: Final = "INSERT INTO submission_log (epoch, topic, topic_id, partitions) VALUES ($1, $2, $3, $4)"
_CUT: Final = """
INSERT INTO submission_log (epoch, topic, topic_id, partitions, partition)
SELECT $1, topic, topic_id, partitions, $3 FROM submission_log WHERE topic_id = $2 AND partition IS NULL"""
_COPY: Final = """
INSERT INTO submission_log (epoch, topic, topic_id, partitions, partition, ends)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (epoch) DO UPDATE SET ends = excluded.ends"""
_CLOSE: Final = "UPDATE submission_log SET ends = $2 WHERE topic_id = $1 AND partition IS NULL"
_UNREAD: Final = """
SELECT l.topic_id, p.number - 1 FROM submission_log AS l
CROSS JOIN LATERAL unnest(l.ends) WITH ORDINALITY AS p (ends_at, number)
LEFT JOIN kafka_offsets AS o ON o.reader = $1 AND o.topic_id = l.topic_id AND o.partition = p.number - 1
WHERE l.partition IS NULL AND coalesce(o.next_offset, 0) < p.ends_at
    AND (p.number - 1) % $2 = ANY ($3::int[])"""


class TooManyLives(Exception):
    """Event ids have no room for another epoch."""


class Rows(Protocol):
    """Who can be asked: a database, or all of them."""

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]: ...


async def known(source: Rows, *, fresh: bool = False) -> list[Life]:
    """All lives, from any server of a database, or with `fresh` from the primary.

    Raises:
        MarqueeError: UNAVAILABLE, none answers.
    """
    found: dict[int, Life] = {}
    for life in map(_life, await source.fetch(_ALL, fresh=fresh)):
        # A copy may not know yet that a topic is closed.
        if life.epoch not in found or found[life.epoch].ends is None:
            found[life.epoch] = life
    return list(found.values())


async def meet(
    connection: Connection, topic: str, identity: TopicIdentity, first: Postgres | None = None
) -> tuple[list[Life], bool]:
    """Sees that a topic has an epoch; returns all lives, and whether this one is new.

    Args:
        first: the database that numbers lives, if the connection's does not.

    Raises:
        TooManyLives: there is no epoch left.
        MarqueeError: UNAVAILABLE, the topic is not known here, and the first database is away.
    """
    await connection.execute(_LOCK)
    lives = await in_transaction(connection)
    if any(life.topic_id == identity.id for life in lives):
        return lives, False
    if first is not None:
        async with first.write() as numbering:
            lives, new = await meet(numbering, topic, identity)
        await copy(connection, lives)
        return lives, new
    await connection.execute(_BEGIN, _next(lives), topic, identity.id, identity.partitions)
    return await in_transaction(connection), True


async def copy(connection: Connection, lives: Sequence[Life]) -> None:
    """Writes down lives as the first database numbered them."""
    await connection.execute(_LOCK)
    await connection.executemany(
        _COPY, [(x.epoch, x.topic, x.topic_id, x.partitions, x.partition, x.ends) for x in lives]
    )


async def cut(
    connection: Connection, topic_id: str, partition: int, first: Postgres | None = None
) -> list[Life]:
    """Begins an epoch for a partition that lost its end; returns all lives. `first` is as in `meet`.

    Raises:
        TooManyLives: there is no epoch left.
        MarqueeError: UNAVAILABLE, the first database is away.
    """
    await connection.execute(_LOCK)
    if first is not None:
        async with first.write() as numbering:
            lives = await cut(numbering, topic_id, partition)
        await copy(connection, lives)
        return lives
    await connection.execute(_CUT, _next(await in_transaction(connection)), topic_id, partition)
    return await in_transaction(connection)


async def close(connection: Connection, topic_id: str, ends: Sequence[int] | None) -> None:
    """Writes down where a topic's partitions end, now that it takes no more; None: it takes more again."""
    await connection.execute(_CLOSE, topic_id, None if ends is None else list(ends))


async def unread(connection: Connection, reader: str, own: Own) -> set[str]:
    """The ids of closed topics that a reader has not read to their ends, as far as they are its own."""
    return {row[0] for row in await connection.fetch(_UNREAD, reader, own.total, list(own.slots))}


async def in_transaction(connection: Connection) -> list[Life]:
    """All lives, as a transaction sees them."""
    return [_life(row) for row in await connection.fetch(_ALL)]


def _next(lives: Sequence[Life]) -> int:
    epoch = max((life.epoch for life in lives), default=0) + 1
    if epoch >= EPOCHS:
        raise TooManyLives(
            f"the log of submissions has had {epoch - 1} lives: event ids have no room for more"
        )
    return epoch


def _life(row: asyncpg.Record) -> Life:
    return Life(*row)
