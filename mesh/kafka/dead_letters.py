"""Dead letters: messages that can never be processed, kept with their reason, up to a limit.

One odd message is its sender's accident; very many are a bad release, of the
sender or of the reader, and setting them all aside would empty the topic into a
place that nobody reads. So they are counted, each message once however often it
is read, over all processes and whatever is restarted: in the database, by its
clock.
"""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter

from mesh.kafka.offsets import Place
from mesh.kafka.producer import KafkaProducer
from mesh.kafka.record import Record
from mesh.postgres import Postgres, affected
from mesh.pruning import Aged

log = logging.getLogger(__name__)

TABLE: Final = """\
CREATE TABLE dead_letters (
    reader text NOT NULL,
    topic_id text NOT NULL,
    partition int NOT NULL,
    log_offset bigint NOT NULL,
    reason text NOT NULL,
    buried_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (reader, topic_id, partition, log_offset)
);
CREATE INDEX dead_letters_by_age ON dead_letters (buried_at);
COMMENT ON TABLE dead_letters IS 'which messages were set aside: each counts once against the limit';
"""
"""For a migration of each service that reads with `mesh.kafka.BatchReader`."""

REASON: Final = "marquee-reason"
ERROR: Final = "marquee-error"
TOPIC: Final = "marquee-topic"
PARTITION: Final = "marquee-partition"
OFFSET: Final = "marquee-offset"
RECORD: Final = "marquee-record"
"""The place where the message was read, TOPIC_ID/PARTITION/OFFSET: two letters of one place are one."""

DEAD: Final = Counter(
    "marquee_dead_letters_total",
    "Messages set aside since they can never be processed, by reader. Each has its reason in the log; "
    "`marquee dlq list` shows them.",
    ("reader",),
)

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('dead letters of ' || current_user || $1))"
_COUNT_IN: Final = """
INSERT INTO dead_letters (reader, topic_id, partition, log_offset, reason)
SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::text[]) ON CONFLICT DO NOTHING"""
_COUNT: Final = """
SELECT count(*)::int FROM dead_letters
WHERE reader = $1 AND buried_at > clock_timestamp() - make_interval(secs => $2)"""
_REASON_LENGTH: Final = 100


def aged(kept_s: float | Callable[[], Awaitable[float]]) -> Aged:
    """What a service remembers of its dead letters, for its pruner; see `mesh.pruning` for `kept_s`."""
    return Aged("dead_letters", "reader, topic_id, partition, log_offset", "buried_at", kept_s)


class Poison(ValueError):
    """A message that can never be processed.

    Attributes:
        reason: UPPER_SNAKE, for the dead letter's headers.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TooManyDeadLetters(Exception):
    """The limit is reached: a release that can't read what it gets must not empty the topic."""


@dataclass(frozen=True)
class DeadLetterLimit:
    """How many dead letters are accepted."""

    count: int
    """So many within the window are always accepted, over all processes together."""
    share: float = 0.0
    """More only while they are at most this share of what this process has read within the window."""
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message and why it can't be processed."""

    record: Record
    place: Place
    why: Poison
    headers: Mapping[str, str] = field(default_factory=dict)
    """What its reader adds to the headers that every letter has."""


class DeadLetterBox:
    """The dead-letter topic of one reader, with its limit."""

    def __init__(
        self,
        reader: str,
        topic: str,
        producer: KafkaProducer,
        postgres: Postgres,
        limit: DeadLetterLimit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._producer = producer
        self._postgres = postgres
        self._limit = limit
        self._share = Share(limit.window_s, clock)

    def read(self, total: int) -> None:
        """Takes note of so many messages that were read."""
        self._share.read(total)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Counts letters in and sends them. What was buried before is sent again and not counted again.

        Raises:
            TooManyDeadLetters: the limit is reached; none of them was sent.
            MarqueeError: UNAVAILABLE, the database or the log did not take them.
        """
        if not letters:
            return
        await self._count_in(letters)
        for letter in letters:
            await self._producer.send(self._topic, letter.record.key, letter.record.value, headers_of(letter))
            DEAD.labels(self._reader).inc()
            log.error(
                "dead letter: %s/%d offset %d: %s: %s",
                letter.record.topic,
                letter.record.partition,
                letter.record.offset,
                letter.why.reason,
                letter.why,
            )

    async def _count_in(self, letters: Sequence[DeadLetter]) -> None:
        async with self._postgres.write() as connection:
            # One process after the other: at the limit, each would still see room for its own.
            await connection.execute(_LOCK, self._reader)
            done = await connection.execute(
                _COUNT_IN,
                self._reader,
                [letter.place.topic_id for letter in letters],
                [letter.place.partition for letter in letters],
                [letter.record.offset for letter in letters],
                [letter.why.reason[:_REASON_LENGTH] for letter in letters],
            )
            new = affected(done)
            count = await connection.fetchval(_COUNT, self._reader, self._limit.window_s)
            # Raised inside: a letter that is not sent must not count either.
            if new and count > self._limit.count and self._share.of(new) > self._limit.share:
                raise TooManyDeadLetters(self._sentence(letters[0], count))
        self._share.buried(new)

    def _sentence(self, letter: DeadLetter, count: int) -> str:
        record, why = letter.record, letter.why
        return (
            f"too many dead letters ({count} within {self._limit.window_s:g} s), so the reader stops and "
            f"leaves the rest in the topic; one is {record.topic}/{record.partition} offset "
            f"{record.offset}: {why.reason}: {why}. Mend or roll back what writes or reads them, then restart"
        )


def headers_of(letter: DeadLetter) -> dict[str, str]:
    """What a dead letter says of itself, beside the headers that it came with."""
    record = letter.record
    return {
        **record.headers,
        REASON: letter.why.reason,
        ERROR: str(letter.why),
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(record.offset),
        RECORD: f"{letter.place.topic_id}/{letter.place.partition}/{record.offset}",
        **letter.headers,
    }


class Share:
    """Which share of what this process has read recently are dead letters."""

    def __init__(self, window_s: float, clock: Callable[[], float]) -> None:
        self._window_s = window_s
        self._clock = clock
        self._window: deque[tuple[float, int, int]] = deque()
        self._total = 0
        self._dead = 0

    def read(self, total: int) -> None:
        self._add(total, 0)

    def buried(self, dead: int) -> None:
        self._add(0, dead)

    def of(self, more: int) -> float:
        """The share with so many more."""
        return (self._dead + more) / max(self._total, 1)

    def _add(self, total: int, dead: int) -> None:
        now = self._clock()
        self._window.append((now, total, dead))
        self._total += total
        self._dead += dead
        while self._window[0][0] < now - self._window_s:
            _, old_total, old_dead = self._window.popleft()
            self._total -= old_total
            self._dead -= old_dead
