"""The lives of the log in PostgreSQL: the SQL of `submission_log`."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from mesh.kafka import TopicIdentity
from mesh.kafka.event_ids import EPOCHS
from mesh.postgres import Connection, Postgres
from rating_svc.registry import Life

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('submission log of ' || current_user))"
_ALL: Final = "SELECT epoch, topic, topic_id, partitions, partition, ends FROM submission_log ORDER BY epoch"
_BEGIN: Final = "INSERT INTO submission_log (epoch, topic, topic_id, partitions) VALUES ($1, $2, $3, $4)"
_CUT: Final = """
INSERT INTO submission_log (epoch, topic, topic_id, partitions, partition)
SELECT $1, topic, topic_id, partitions, $3 FROM submission_log WHERE topic_id = $2 AND partition IS NULL"""
_CLOSE: Final = "UPDATE submission_log SET ends = $2 WHERE topic_id = $1 AND partition IS NULL"
_UNREAD: Final = """
SELECT l.topic_id, p.number - 1 FROM submission_log AS l
CROSS JOIN LATERAL unnest(l.ends) WITH ORDINALITY AS p (ends_at, number)
LEFT JOIN kafka_offsets AS o ON o.reader = $1 AND o.topic_id = l.topic_id AND o.partition = p.number - 1
WHERE l.partition IS NULL AND coalesce(o.next_offset, 0) < p.ends_at"""


class TooManyLives(Exception):
    """Event ids have no room for another epoch."""


async def known(postgres: Postgres, *, fresh: bool = False) -> list[Life]:
    """All lives, from any database, or with `fresh` from the primary.

    Raises:
        MarqueeError: UNAVAILABLE, none answers.
    """
    return [_life(row) for row in await postgres.fetch(_ALL, fresh=fresh)]


async def meet(connection: Connection, topic: str, identity: TopicIdentity) -> tuple[list[Life], bool]:
    """Sees that a topic has an epoch; returns all lives, and whether this one is new.

    Raises:
        TooManyLives: there is no epoch left.
    """
    await connection.execute(_LOCK)
    lives = await _in_transaction(connection)
    if any(life.topic_id == identity.id for life in lives):
        return lives, False
    await connection.execute(_BEGIN, _next(lives), topic, identity.id, identity.partitions)
    return await _in_transaction(connection), True


async def cut(connection: Connection, topic_id: str, partition: int) -> list[Life]:
    """Begins an epoch for a partition that lost its end; returns all lives.

    Raises:
        TooManyLives: there is no epoch left.
    """
    await connection.execute(_LOCK)
    await connection.execute(_CUT, _next(await _in_transaction(connection)), topic_id, partition)
    return await _in_transaction(connection)


async def close(connection: Connection, topic_id: str, ends: Sequence[int] | None) -> None:
    """Writes down where a topic's partitions end, now that it takes no more; None: it takes more again."""
    await connection.execute(_CLOSE, topic_id, None if ends is None else list(ends))


async def unread(connection: Connection, reader: str) -> set[str]:
    """The ids of closed topics that a reader has not read to their ends."""
    return {row[0] for row in await connection.fetch(_UNREAD, reader)}


async def _in_transaction(connection: Connection) -> list[Life]:
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
