"""How far a reader has come, kept with the data that it made: in the same database, the same transaction.

A store that is set back, by the failover of an asynchronous primary or by a
backup that was restored, then knows what it has lost and reads it again. And
a row is a fence: of two processes that both take a partition for theirs, such
as one that was frozen, only one finds the row where it left it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import asyncpg

from mesh.postgres import Connection, affected

TABLE: Final = """\
CREATE TABLE kafka_offsets (
    reader text NOT NULL,
    topic_id text NOT NULL,
    partition int NOT NULL,
    topic text NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    fingerprint bigint,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, topic_id, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE kafka_offsets IS 'how far the log was read, written in the transaction of what was read';
COMMENT ON COLUMN kafka_offsets.topic_id IS 'the brokers'' own: another one after the topic was made again';
COMMENT ON COLUMN kafka_offsets.first_offset IS 'where the last transaction began';
COMMENT ON COLUMN kafka_offsets.fingerprint IS 'of the message before next_offset; NULL: none was read';
"""
"""For a migration of each service that reads with `mesh.kafka.BatchReader`."""

_LOAD: Final = """
SELECT topic_id, partition, next_offset, fingerprint FROM kafka_offsets
WHERE reader = $1 AND topic_id = ANY ($2::text[])"""
_EVERYWHERE: Final = "SELECT topic, partition, topic_id, next_offset FROM kafka_offsets WHERE reader = $1"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('offsets of ' || current_user || $1))"
_KNOWN: Final = "SELECT EXISTS (SELECT FROM kafka_offsets WHERE reader = $1 AND topic = $2)"
_BEGIN: Final = """
INSERT INTO kafka_offsets (reader, topic_id, partition, topic, first_offset, next_offset)
SELECT $1, $2, partition, $3, start, start FROM unnest($4::int[], $5::bigint[]) AS s (partition, start)
ON CONFLICT DO NOTHING"""
# Locked in the order of the key: two that meet wait for one another, and never deadlock.
_ADVANCE: Final = """
WITH moves AS (
    SELECT * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS s (topic_id, partition, first_offset, next_offset, fingerprint)
), locked AS (
    SELECT o.topic_id, o.partition, m.first_offset, m.next_offset, m.fingerprint
    FROM kafka_offsets AS o JOIN moves AS m USING (topic_id, partition)
    WHERE o.reader = $1 AND o.next_offset = m.first_offset
    ORDER BY o.topic_id, o.partition FOR UPDATE OF o
)
UPDATE kafka_offsets AS o
SET first_offset = m.first_offset, next_offset = m.next_offset, fingerprint = m.fingerprint, moved_at = now()
FROM locked AS m WHERE o.reader = $1 AND o.topic_id = m.topic_id AND o.partition = m.partition"""
_RESET: Final = """
UPDATE kafka_offsets SET first_offset = $4, next_offset = $4, fingerprint = NULL, moved_at = now()
WHERE reader = $1 AND topic_id = $2 AND partition = $3 AND next_offset = $5"""


class Place(NamedTuple):
    """A partition of one topic, whatever other topics had its name or get it."""

    topic_id: str
    partition: int


class Stored(NamedTuple):
    """How far a partition was read."""

    next_offset: int
    fingerprint: int | None
    """Of the message before; None if none was read."""


class Move(NamedTuple):
    """What a transaction reads: from `first_offset` on, up to before `next_offset`."""

    place: Place
    first_offset: int
    next_offset: int
    fingerprint: int | None


class OutOfStep(Exception):
    """The store is not where this process left it: somebody else read on, or the store was set back."""


class Offsets:
    """The rows of one reader: of all processes that share the work of reading."""

    def __init__(self, reader: str) -> None:
        self.reader = reader

    async def load(self, connection: Connection, topic_ids: Collection[str]) -> dict[Place, Stored]:
        """How far the topics were read."""
        rows = await connection.fetch(_LOAD, self.reader, list(topic_ids))
        return {Place(row[0], row[1]): Stored(row[2], row[3]) for row in rows}

    async def everywhere(self, connection: Connection) -> dict[tuple[tuple[str, int], str], int]:
        """The next offset of all that was ever read: by topic and partition, and the topic's id."""
        rows = await connection.fetch(_EVERYWHERE, self.reader)
        return {((row[0], row[1]), row[2]): row[3] for row in rows}

    async def begin(
        self,
        connection: Connection,
        topic: str,
        topic_id: str,
        lows: Mapping[int, int],
        adopted: Mapping[int, int] | None,
    ) -> None:
        """Writes down where reading begins, for partitions that have no row.

        Args:
            topic: the topic's name.
            topic_id: the brokers' name for it.
            lows: the first offset that each of its partitions holds.
            adopted: what the group had committed in Kafka; it counts only if nothing was ever read from
                a topic of this name, since what is committed there belongs to the name.
        """
        await connection.execute(_LOCK, self.reader)
        if adopted and not await connection.fetchval(_KNOWN, self.reader, topic):
            starts = {number: max(low, adopted.get(number, low)) for number, low in lows.items()}
        else:
            starts = dict(lows)
        await connection.execute(_BEGIN, self.reader, topic_id, topic, list(starts), list(starts.values()))

    async def advance(self, connection: Connection, moves: Sequence[Move]) -> None:
        """Writes down what this transaction reads, and locks out all others that would read the same.

        Raises:
            OutOfStep: a row is not where a move begins.
        """
        done = await connection.execute(
            _ADVANCE,
            self.reader,
            [move.place.topic_id for move in moves],
            [move.place.partition for move in moves],
            [move.first_offset for move in moves],
            [move.next_offset for move in moves],
            [move.fingerprint for move in moves],
        )
        if affected(done) < len(moves):
            raise OutOfStep(", ".join(f"{move.place.partition}:{move.first_offset}" for move in moves))

    async def reset(self, connection: Connection, place: Place, was: int, start: int) -> None:
        """Begins a partition from another place, if it still stands where it was."""
        await connection.execute(_RESET, self.reader, *place, start, was)


REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a statement raises because of the data that it is given."""
