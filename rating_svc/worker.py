"""The worker: brings the log into the database, a batch in one transaction.

The order of things is what makes it safe. A batch's transaction commits first,
its offsets after: a crash between the two brings the batch again, and then its
request ids are known and its places in the log are no later than the rows'.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import asyncpg

from mesh.errors import MarqueeError
from mesh.kafka import BatchConsumer, KafkaProducer, Record
from mesh.postgres import Postgres
from rating_svc import collapse, dead_letters, metrics, store, submissions
from rating_svc.cache import Settling
from rating_svc.config import LogConfig, WorkerConfig
from rating_svc.dead_letters import DeadLetter, DeadLetterLimit
from rating_svc.epoch import EpochGuard, WrongLog
from rating_svc.submissions import Poison, Position, Submission

log = logging.getLogger(__name__)

_IDLE_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 5.0
_SILENCE_S: Final = 15.0
_GLANCE_S: Final = 0.001
_POISON: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_STORED = metrics.DEALT_WITH.labels("stored")
_DUPLICATE = metrics.DEALT_WITH.labels("duplicate")
_SUPERSEDED = metrics.DEALT_WITH.labels("superseded")
_STALE = metrics.DEALT_WITH.labels("stale")
_DEAD = metrics.DEALT_WITH.labels("dead_letter")


class TooManyDeadLetters(Exception):
    """The limit is reached: a release that can't read what it gets must not empty the topic."""


class Entry:
    """A message of a batch that could be read."""

    __slots__ = ("position", "record", "submission")

    def __init__(self, record: Record, position: Position, submission: Submission) -> None:
        self.record = record
        self.position = position
        self.submission = submission


class Worker:
    """Deals with batches until it is cancelled."""

    def __init__(
        self,
        consumer: Callable[[], BatchConsumer],
        producer: KafkaProducer,
        postgres: Postgres,
        settling: Settling,
        guard: EpochGuard,
        log_config: LogConfig,
        config: WorkerConfig,
    ) -> None:
        self._make_consumer = consumer
        self._producer = producer
        self._postgres = postgres
        self._settling = settling
        self._guard = guard
        self._epoch = log_config.epoch
        self._config = config
        self._limit = DeadLetterLimit(config)
        # Submissions a transaction: fewer while the database is too slow for a whole batch in its time.
        self._portion = config.batch
        self._stopped = ""

    async def ping(self) -> None:
        """Raises once the worker has stopped. For health."""
        if self._stopped:
            raise RuntimeError(self._stopped)

    async def run(self) -> None:
        """Deals with batches, for ever; ends where going on would do harm.

        Raises:
            KafkaException: the group or the topic can't be used.
        """
        try:
            await self._guard.begin()
            async with self._consumer() as consumer:
                while True:
                    await self._guard.check()
                    batch = await consumer.next_batch(self._config.batch, _IDLE_S)
                    if batch:
                        metrics.BATCH.observe(len(batch))
                        await self._deal_with(consumer, batch)
        except (TooManyDeadLetters, WrongLog) as error:
            self._stopped = str(error)
            metrics.WORKER_STOPPED.set(1)
            log.error("%s", error)

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[BatchConsumer]:
        # A new one for each run: whatever one had read and not committed is then read again.
        consumer = self._make_consumer()
        try:
            yield consumer
        finally:
            await consumer.close()

    async def _deal_with(self, consumer: BatchConsumer, batch: list[Record]) -> None:
        """Deals with a batch, however long the database or the log is away."""
        entries, letters = self._read(batch)
        self._check_limit(len(batch), letters)
        to_store: Sequence[Entry] = entries
        pause = _FIRST_PAUSE_S
        while True:
            try:
                while to_store:
                    if len(to_store) < len(entries) and not await consumer.wait(_GLANCE_S):
                        # It took so long that others deal with it now.
                        return
                    portion, rest = to_store[: self._portion], to_store[self._portion :]
                    refused = await self._store(portion)
                    self._check_limit(0, refused)
                    letters += refused
                    to_store = rest
                    # Half at once and back little by little: what runs into the time limit was in vain.
                    self._portion = min(self._portion + max(1, self._config.batch // 50), self._config.batch)
                    pause = _FIRST_PAUSE_S
                while letters:
                    await self._bury(letters[0])
                    del letters[0]
                break
            except (MarqueeError, asyncpg.PostgresError) as error:
                metrics.WORKER_RETRIES.labels(
                    "log" if getattr(error, "reason", "") == "QUEUE_UNAVAILABLE" else "database"
                ).inc()
                log.warning("a batch of %d waits: %s: %s", len(batch), type(error).__name__, error)
                self._portion = max(1, self._portion // 2)
            if not await consumer.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                log.info("a batch of %d is dropped: partitions of it went to others", len(batch))
                return
            pause = min(pause * 2, _MAX_PAUSE_S)
        await consumer.commit()
        for entry in entries:
            self._settling.add(entry.submission.user, entry.submission.movie, entry.position)

    def _read(self, batch: Sequence[Record]) -> tuple[list[Entry], list[DeadLetter]]:
        entries, letters = [], []
        for record in batch:
            position = dead_letters.position_of(record, self._epoch)
            try:
                entries.append(Entry(record, position, submissions.decode(record.value)))
            except Poison as why:
                letters.append(DeadLetter(record, position, why))
        return entries, letters

    def _check_limit(self, total: int, letters: Sequence[DeadLetter]) -> None:
        if self._limit.exceeded(total, len(letters)):
            record, why = letters[0].record, letters[0].why
            raise TooManyDeadLetters(
                "too many submissions can't be dealt with, so the worker stops and leaves the rest in the "
                f"topic; one is {record.topic}/{record.partition} offset {record.offset}: {why.reason}. "
                "Mend or roll back what writes or reads them, then restart the worker"
            )

    async def _bury(self, letter: DeadLetter) -> None:
        await dead_letters.send(self._producer, letter)
        _DEAD.inc()
        log.warning(
            "dead letter: %s/%d offset %d: %s: %s",
            letter.record.topic,
            letter.record.partition,
            letter.record.offset,
            letter.why.reason,
            letter.why,
        )

    async def _store(self, entries: Sequence[Entry]) -> list[DeadLetter]:
        """Stores entries; gives those that the database refuses, found by halving."""
        if not entries:
            return []
        try:
            await self._transact(entries)
            return []
        except _POISON as error:
            if len(entries) == 1:
                why = Poison("DATABASE_REFUSED", f"{type(error).__name__}: {error}")
                return [DeadLetter(entries[0].record, entries[0].position, why)]
        middle = len(entries) // 2
        return await self._store(entries[:middle]) + await self._store(entries[middle:])

    async def _transact(self, entries: Sequence[Entry]) -> None:
        started = time.perf_counter()
        async with self._postgres.write() as connection:
            await store.begin_batch(connection, _SILENCE_S)
            fresh = await store.see(connection, [entry.submission for entry in entries])
            changes, touches = collapse.collapse(((e.position, e.submission) for e in entries), fresh)
            outcome = await store.apply(connection, changes) if changes else store.Outcome(0, 0)
            if touches:
                await store.touch(connection, touches)
            if outcome.changed:
                await store.wake_relay(connection)
        metrics.BATCH_SECONDS.observe(time.perf_counter() - started)
        _STORED.inc(outcome.applied)
        _STALE.inc(len(changes) - outcome.applied)
        _SUPERSEDED.inc(len(fresh) - len(changes))
        _DUPLICATE.inc(len(entries) - len(fresh))
        metrics.CHANGES.inc(outcome.changed)
        now = submissions.now_us()
        for change in changes:
            metrics.STORED_AFTER.observe(max(0, now - change.submit_us) / 1e6)


class Pruner:
    """Deletes what is too old, a little at a time."""

    def __init__(self, postgres: Postgres, config: WorkerConfig, portion: int = 5000) -> None:
        self._postgres = postgres
        self._config = config
        self._portion = portion

    async def run(self) -> None:
        """Prunes now and then, for ever. Several workers at once do no harm."""
        while True:
            await asyncio.sleep(self._config.prune_interval_s * random.uniform(0.5, 1.5))  # noqa: S311
            await self.prune()

    async def prune(self) -> None:
        """Deletes all that is too old."""
        for table, prune, retention_s in (
            ("seen_requests", store.prune_requests, self._config.request_retention_s),
            ("ratings", store.prune_tombstones, self._config.tombstone_retention_s),
        ):
            deleted = self._portion
            while deleted == self._portion:
                async with self._postgres.write() as connection:
                    deleted = await prune(connection, retention_s, self._portion)
                metrics.PRUNED.labels(table).inc(deleted)
