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
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg
from confluent_kafka import KafkaException
from prometheus_client import Counter, Gauge

from mesh.backoff import Backoff
from mesh.errors import MarqueeError
from mesh.kafka.config import KafkaConfig
from mesh.kafka.consumer import BatchConsumer
from mesh.kafka.dead_letters import DeadLetter, DeadLetterBox, Poison, TooManyDeadLetters
from mesh.kafka.handler import DecodedRecord, Handler
from mesh.kafka.offsets import REFUSED, Offsets, OutOfStep
from mesh.kafka.record import Record
from mesh.kafka.tracker import Tracker
from mesh.postgres import Postgres

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

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
        # Messages a transaction: fewer while the database is too slow for a whole batch in its time.
        self._portion = batch
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
                    await self._follow(consumer, tracker)
                    if batch := await consumer.next_batch(self._batch, _IDLE_S):
                        await self._deal_with(consumer, tracker, batch)
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

    async def _follow(self, consumer: BatchConsumer, tracker: Tracker) -> None:
        backoff = Backoff()
        while True:
            try:
                await tracker.follow()
                return
            except _AWAY as error:
                self._note(error, "nothing is read")
            await consumer.wait(backoff.pause_s())

    async def _deal_with(self, consumer: BatchConsumer, tracker: Tracker, batch: list[Record]) -> None:
        """Stores a batch, however long the database or the log is away."""
        records = tracker.take(batch)
        consumer.keep(records)
        if not records:
            return
        self._box.read(len(records))
        entries = [self._read(record, tracker) for record in records]
        left = list(entries)
        checked = buried = False
        backoff = Backoff()
        while True:
            try:
                if not checked and not await tracker.same_topics(records):
                    return
                checked = True
                if not buried:
                    await self._bury(entries)
                    buried = True
                if await self._store_all(consumer, tracker, left, backoff):
                    await consumer.commit()
                return
            except OutOfStep as error:
                log.warning("a batch of %d is dropped: the store is not at %s", len(left), error)
                tracker.forget({(entry.record.topic, entry.record.partition) for entry in left}, "store")
                return
            except _AWAY as error:
                self._note(error, f"a batch of {len(left)} waits")
                self._portion = max(1, self._portion // 2)
            if not await consumer.wait(backoff.pause_s()):
                log.info("a batch of %d is dropped: partitions of it went to others", len(left))
                return

    def _read(self, record: Record, tracker: Tracker) -> DecodedRecord[T]:
        place = tracker.place_of(record)
        try:
            return DecodedRecord(record, place, self._handler.read(record), None)
        except Poison as why:
            return DecodedRecord(record, place, None, why)

    async def _bury(self, entries: Sequence[DecodedRecord[T]]) -> None:
        dead = [entry for entry in entries if entry.poison is not None]
        await self._box.bury([self._letter(entry) for entry in dead])

    def _letter(self, entry: DecodedRecord[T]) -> DeadLetter:
        assert entry.poison is not None
        return DeadLetter(entry.record, entry.place, entry.poison, self._handler.letter_headers(entry))

    async def _store_all(
        self, consumer: BatchConsumer, tracker: Tracker, left: list[DecodedRecord[T]], backoff: Backoff
    ) -> bool:
        """Stores what is left, a portion at a time; False if part of it went to others meanwhile."""
        size = self._portion
        whole = len(left)
        while left:
            if len(left) < whole and not await consumer.wait(_GLANCE_S):
                return False
            portion = left[:size]
            try:
                await self._transact(tracker, portion)
            except REFUSED as error:
                # Halving finds the one that the database refuses, and the others are stored.
                if len(portion) > 1:
                    size = len(portion) // 2
                    continue
                await self._refuse(portion[0], error)
                continue
            del left[: len(portion)]
            # Half at once and back little by little: what runs into the time limit was in vain.
            self._portion = min(self._portion + max(1, self._batch // 50), self._batch)
            size = min(size * 2, self._portion)
            backoff.reset()
        return True

    async def _refuse(self, entry: DecodedRecord[T], error: Exception) -> None:
        if entry.poison is not None:
            raise error
        entry.poison = Poison("DATABASE_REFUSED", f"{type(error).__name__}: {error}")
        await self._box.bury([self._letter(entry)])

    async def _transact(self, tracker: Tracker, portion: Sequence[DecodedRecord[T]]) -> None:
        records = [entry.record for entry in portion]
        good = [entry for entry in portion if entry.poison is None]
        async with self._postgres.write() as connection:
            await self._offsets.advance(connection, tracker.moves(records))
            outcome = await self._handler.store(connection, good) if good else None
        tracker.moved(records)
        if outcome is not None:
            await self._handler.stored(good, outcome)

    def _note(self, error: Exception, what: str) -> None:
        away = isinstance(error, KafkaException) or getattr(error, "reason", "") == "QUEUE_UNAVAILABLE"
        RETRIES.labels(self._offsets.reader, "log" if away else "database").inc()
        log.warning("%s: %s: %s", what, type(error).__name__, error)
