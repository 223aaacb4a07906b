"""Reads a log into a database, a batch in one transaction together with how far it came.

What makes it safe, whatever is killed, frozen, cut off or set back:

* offsets are rows of the same database (`mesh.kafka.offsets`): a batch and its
  place are stored both or neither;
* a batch is stored only if the row stands where this process believes it to
  stand. A process that others have overtaken, and one whose store was set back,
  notice, go to where the row is, and read on from there;
* which topic a batch comes from is asked after it was read and before it is
  stored: a topic that was deleted and made again is another one at once;
* the message before the first one is compared with the one remembered: a log
  whose end was lost is not taken for the old one.

Whatever is read again must be harmless: a handler recognises what it has.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg
from confluent_kafka import KafkaException
from prometheus_client import Counter, Gauge

from mesh import spans
from mesh.backoff import Backoff
from mesh.errors import MarqueeError
from mesh.kafka.config import KafkaConfig
from mesh.kafka.consumer import BatchConsumer
from mesh.kafka.dead_letters import DeadLetter, DeadLetterBox, Poison, TooManyDeadLetters
from mesh.kafka.handler import DecodedRecord, Handler
from mesh.kafka.offsets import REFUSED, Offsets, OutOfStep, Place
from mesh.kafka.record import Record
from mesh.kafka.tracker import Tracker
from mesh.postgres import Postgres

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

RETRIES: Final = Counter(
    "marquee_reader_retries_total",
    "Batches that had to wait, by reader and by what was away: database, log. Rises steadily: it is down.",
    ("reader", "part"),
)
STOPPED: Final = Gauge(
    "marquee_reader_stopped",
    "1 once a reader has stopped because of too many dead letters. Its log says what to do; then restart it.",
    ("reader",),
)

_IDLE_S: Final = 1.0
_GLANCE_S: Final = 0.001
_AWAY: Final = (MarqueeError, asyncpg.PostgresError, KafkaException)


class PartitionsLost(Exception):
    """Partitions of the batch went to another process, which reads it again."""


class PortionSize:
    """How many messages of a batch are stored in one transaction."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_time = most
        self._accepted = most

    @property
    def now(self) -> int:
        return min(self._in_time, self._accepted)

    def stored(self) -> None:
        # Half at once and back little by little: what runs into the time limit was wasted.
        self._in_time = min(self._in_time + max(1, self._most // 50), self._most)
        self._accepted = min(self._accepted * 2, self._most)

    def too_slow(self) -> None:
        """The database did not store a portion, maybe since it had no time for so many messages."""
        self._in_time = max(1, self._in_time // 2)

    def refused(self, count: int) -> None:
        """The database refuses one of `count` messages: halving finds it, and the others are stored."""
        self._accepted = max(1, count // 2)


class BatchReader(Generic[T, R]):
    """Reads for one reader, in one of its processes.

    Args:
        reader: the name of all its processes together, in the tables and in metrics.
        consumer: makes a consumer; a new one for each run.
        batch: messages a transaction, at most.
    """

    def __init__(
        self,
        reader: str,
        consumer: Callable[[], BatchConsumer],
        config: KafkaConfig,
        postgres: Postgres,
        handler: Handler[T, R],
        box: DeadLetterBox,
        batch: int,
    ) -> None:
        self._offsets = Offsets(reader)
        self._make_consumer = consumer
        self._config = config
        self._postgres = postgres
        self._handler = handler
        self._box = box
        self._batch = batch
        self._portion_size = PortionSize(batch)
        self._stopped = ""
        STOPPED.labels(reader).set(0)

    async def ping(self) -> None:
        """Raises once it has stopped. For health."""
        if self._stopped:
            raise RuntimeError(self._stopped)

    async def run(self) -> None:
        """Reads forever; ends only if there are too many dead letters.

        It leaves the group then: an older release that can read the messages goes on.

        Raises:
            KafkaException: the group or the topic can't be used.
        """
        try:
            async with self._consumer() as consumer:
                tracker = Tracker(consumer, self._config, self._postgres, self._offsets, self._handler)
                while True:
                    await self._go_where_the_store_is(consumer, tracker)
                    if batch := await consumer.next_batch(self._batch, _IDLE_S):
                        await self._process(consumer, tracker, batch)
        except TooManyDeadLetters as error:
            self._stopped = str(error)
            STOPPED.labels(self._offsets.reader).set(1)
            log.critical("%s", error)

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[BatchConsumer]:
        consumer = self._make_consumer()
        try:
            yield consumer
        finally:
            await consumer.close()

    async def _go_where_the_store_is(self, consumer: BatchConsumer, tracker: Tracker) -> None:
        while True:
            # Between two batches, partitions that went to others stop nothing.
            with contextlib.suppress(PartitionsLost):
                await self._insist(consumer, tracker.follow)
                return

    async def _process(self, consumer: BatchConsumer, tracker: Tracker, batch: list[Record]) -> None:
        """Processes one batch, from the messages that were read to the offsets that are committed."""
        records = tracker.take(batch)
        consumer.keep(records)
        if not records:
            return
        self._box.read(len(records))
        left = [self._decode(record, tracker.place_of(record)) for record in records]
        letters = [self._letter(entry, entry.poison) for entry in left if entry.poison is not None]
        try:
            if not await self._insist(consumer, lambda: tracker.same_topics(records)):
                return
            await self._insist(consumer, lambda: self._box.bury(letters))
            await self._store(consumer, tracker, left)
            await self._insist(consumer, consumer.commit)
        except OutOfStep as error:
            log.warning("a batch of %d is dropped: the store is not at %s", len(left), error)
            tracker.forget({(entry.record.topic, entry.record.partition) for entry in left}, "store")
        except PartitionsLost:
            log.info("a batch of %d is dropped: partitions of it went to others", len(left))

    def _decode(self, record: Record, place: Place) -> DecodedRecord[T]:
        try:
            return DecodedRecord(record, place, self._handler.read(record), None)
        except Poison as why:
            return DecodedRecord(record, place, None, why)

    def _letter(self, entry: DecodedRecord[T], why: Poison) -> DeadLetter:
        return DeadLetter(entry.record, entry.place, why, self._handler.letter_headers(entry))

    async def _store(self, consumer: BatchConsumer, tracker: Tracker, left: list[DecodedRecord[T]]) -> None:
        """Stores a batch, a portion after the other, and removes from `left` what is stored."""
        stored = 0
        while left:
            if stored and not await consumer.wait(_GLANCE_S):
                raise PartitionsLost
            stored = await self._insist(consumer, lambda: self._store_portion(tracker, left))
            del left[:stored]

    async def _store_portion(self, tracker: Tracker, left: Sequence[DecodedRecord[T]]) -> int:
        """Stores the first of these messages; returns how many."""
        while True:
            portion = left[: self._portion_size.now]
            try:
                await self._transact(tracker, portion)
                self._portion_size.stored()
                return len(portion)
            except REFUSED as error:
                if len(portion) == 1:
                    await self._refuse(portion[0], error)
                self._portion_size.refused(len(portion))
            except _AWAY:
                self._portion_size.too_slow()
                raise

    async def _transact(self, tracker: Tracker, portion: Sequence[DecodedRecord[T]]) -> None:
        """Stores messages and their offsets: both or neither."""
        records = [entry.record for entry in portion]
        good = [entry for entry in portion if entry.poison is None]
        with self._traced(portion):
            async with self._postgres.write() as connection:
                await self._offsets.advance(connection, tracker.moves(records))
                outcome = await self._handler.store(connection, good) if good else None
            tracker.moved(records)
            if outcome is not None:
                await self._handler.stored(good, outcome)

    def _traced(self, portion: Sequence[DecodedRecord[T]]) -> contextlib.AbstractContextManager[None]:
        def carry(number: int, traceparent: str) -> None:
            portion[number].trace = traceparent

        records = [entry.record for entry in portion]
        return spans.processing(records[0].topic, self._offsets.reader, records, carry)

    async def _refuse(self, entry: DecodedRecord[T], error: Exception) -> None:
        """Makes a dead letter of a message that the database refuses."""
        if entry.poison is not None:
            raise error
        why = Poison("DATABASE_REFUSED", f"{type(error).__name__}: {error}")
        await self._box.bury([self._letter(entry, why)])
        # Only now: what is poison is not stored, so its letter must be kept first.
        entry.poison = why

    async def _insist(self, consumer: BatchConsumer, step: Callable[[], Awaitable[S]]) -> S:
        """Takes one step, and repeats it while the database or the log is away.

        Raises:
            PartitionsLost: a partition of the batch was taken away meanwhile.
        """
        backoff = Backoff()
        while True:
            try:
                return await step()
            except _AWAY as error:
                RETRIES.labels(self._offsets.reader, _part(error)).inc()
                log.warning("reading waits: %s: %s", type(error).__name__, error)
            if not await consumer.wait(backoff.pause_s()):
                raise PartitionsLost


def _part(error: Exception) -> str:
    """What is away: "log" or "database"."""
    log_is_away = isinstance(error, KafkaException) or getattr(error, "reason", "") == "QUEUE_UNAVAILABLE"
    return "log" if log_is_away else "database"
