"""A consumer of batches for asyncio on confluent-kafka's synchronous one."""

import asyncio
import itertools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from mesh.kafka.config import KafkaConfig
from mesh.kafka.record import Record

log = logging.getLogger(__name__)

Partition: TypeAlias = tuple[str, int]
"""A topic's name and the number of one of its partitions."""

_COMMIT_INTERVAL_S: Final = 0.5
_FETCH_PAUSE_MS: Final = 25
_SEEK_S: Final = 10.0
_COMMITTED_S: Final = 5.0


class BatchConsumer:
    """Reads batches; a batch is committed after it has been processed, and not before.

        while True:
            batch = await consumer.next_batch(500, timeout_s=1.0)
            ...one transaction...
            await consumer.commit()

    If processing a batch must wait (the database is away), `wait` keeps the
    membership alive and says whether the batch is still this consumer's to deal
    with. Partitions are only taken away inside `next_batch`, `wait` and
    `commit`, so a batch is never processed behind a rebalance's back for long:
    what was redelivered to another consumer is for the database's guards.

    A topic that begins with `^` is a regular expression: topics of such a name
    that are created later are read as well.
    """

    def __init__(self, config: KafkaConfig, group: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                **config.client,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(config.session_timeout_s * 1000),
                "heartbeat.interval.ms": 2000,
                # Others wait so long for a member that lives and does not rejoin. None needs to be silent
                # for longer than a statement takes: see `wait`.
                "max.poll.interval.ms": 45_000,
                "reconnect.backoff.max.ms": 1000,
                "queued.max.messages.kbytes": 8192,
                # What is here is read before more is fetched, and that waits until there may be several: else
                # each message that comes is answered to a request of its own, for a third of what it costs
                # the broker. One that comes after a while without any is fetched at once nevertheless.
                "queued.min.messages": 1,
                "fetch.queue.backoff.ms": _FETCH_PAUSE_MS,
                "topic.metadata.refresh.interval.ms": 10_000,
                # Else a broker that hangs is waited for for a minute.
                "socket.timeout.ms": 5000,
                "error_cb": self._shaken,
                "log_level": 3,
            }
        )
        self._topics = list(topics)
        self._gather_s = config.gather_ms / 1000
        self._numbers = itertools.count(1)
        self._given: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._commit_due = 0.0
        self.shaken = False
        """Whether the connection to a broker was lost since somebody set this to False."""
        # librdkafka's consumer is not for several threads at once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-consumer")
        self._batch: list[Record] = []
        self._lost: set[Partition] = set()
        self._uncommitted: dict[Partition, int] = {}
        self._subscribed = False

    @property
    def given(self) -> Mapping[Partition, int]:
        """The partitions that are this consumer's now, each with a number that tells one assignment of it
        from the next.
        """
        return self._given

    @property
    def paused(self) -> Collection[Partition]:
        """The partitions from which nothing is read, as `pause` said."""
        return self._paused

    async def next_batch(self, limit: int, timeout_s: float) -> list[Record]:
        """Reads up to `limit` messages, waiting at most `timeout_s` for the first; empty if none came.

        If the batch before was not committed, it is read again.

        Raises:
            KafkaException: the group or the topic can't be used.
        """
        if self._batch:
            await self.rewind()
        self._batch = await self._run(self._read, limit, timeout_s)
        return self._batch

    async def commit(self) -> None:
        """Says that the batch that was read last has been processed: its ends are committed.

        Half a second may pass until the broker is told, with what comes after
        it: where offsets are kept with the data, nobody waits for that. Closing
        and giving partitions away tell it at once. A commit that fails, as in
        the middle of a rebalance, is logged and not raised, and tried again
        later. If the partition goes to another consumer first, the messages are
        read again, and the database's guards know them.
        """
        batch, self._batch = self._batch, []
        if batch:
            await self._run(self._commit, batch)

    def keep(self, records: list[Record]) -> None:
        """Goes on with these records of the batch only: the others' partitions are moved by `seek`."""
        self._batch = records

    async def seek(self, starts: Mapping[Partition, int]) -> None:
        """Goes on from other places; what was read before and not committed is forgotten.

        Raises:
            KafkaException: a partition can't be moved now, for example since it was taken away.
        """
        self._batch = [r for r in self._batch if (r.topic, r.partition) not in starts]
        await self._run(self._seek, dict(starts))

    async def pause(self, partitions: Collection[Partition]) -> None:
        """Reads nothing from exactly these partitions, until it is called with others."""
        await self._run(self._pause, set(partitions))

    async def committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """What the group has committed of partitions, where it has.

        Raises:
            KafkaException: no broker answered.
        """
        asked = [TopicPartition(topic, number) for topic, number in partitions]
        found = await self._run(self._consumer.committed, asked, _COMMITTED_S)
        return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}

    async def wait(self, seconds: float) -> bool:
        """Waits while keeping the membership; False if a partition of the batch was taken away meanwhile.

        After False drop the batch: others process what was taken away, and
        `next_batch` reads the rest again.
        """
        return bool(await self._run(self._hold, seconds))

    async def rewind(self) -> None:
        """Puts the uncommitted batch back: `next_batch` reads it again."""
        await self._run(self._rewind, self._batch)
        self._batch = []

    async def close(self) -> None:
        """Leaves the group, so that others take over at once. Goes on if the caller is cancelled."""
        leaving = self._thread.submit(self._leave)
        self._thread.shutdown(wait=False)
        # Cancelled with the caller, it would never begin if the thread is still reading: the group
        # would then miss this consumer only when its session has timed out.
        await asyncio.shield(asyncio.wrap_future(leaving))

    async def _run(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _read(self, limit: int, timeout_s: float) -> list[Record]:
        if not self._subscribed:
            self._consumer.subscribe(
                self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._missed
            )
            self._subscribed = True
        self._lost.clear()
        if self._uncommitted:
            first_s = min(timeout_s, max(0.0, self._commit_due - time.monotonic()))
            messages = self._consumer.consume(1, first_s)
            if time.monotonic() >= self._commit_due:
                self._commit_ends()
            messages = messages or self._consumer.consume(1, timeout_s - first_s)
        else:
            # `consume` waits for a full batch or the whole time: first one message, then what is there.
            messages = self._consumer.consume(1, timeout_s)
        try:
            if messages and limit > 1:
                messages += self._consumer.consume(limit - 1, self._gather_s)
            return _records(messages)
        except KafkaException:
            # The position is behind these already: the next commit would skip them.
            self._rewind([Record(message) for message in messages if message.error() is None])
            raise

    def _commit(self, batch: list[Record]) -> None:
        for record in batch:
            if (record.topic, record.partition) not in self._lost:
                self._uncommitted[record.topic, record.partition] = record.offset + 1
        if time.monotonic() >= self._commit_due:
            self._commit_ends()

    def _leave(self) -> None:
        if self._subscribed:
            self._commit_ends()
        self._consumer.close()

    def _commit_ends(self) -> None:
        """Commits what has been processed and not been committed yet."""
        ends = self._uncommitted
        if not ends:
            return
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        self._commit_due = time.monotonic() + _COMMIT_INTERVAL_S
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("could not commit: %s; tried again later", error)
            return
        self._uncommitted = {}

    def _hold(self, seconds: float) -> bool:
        paused = [at for at in self._consumer.assignment() if (at.topic, at.partition) not in self._paused]
        self._consumer.pause(paused)
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                early = self._consumer.poll(min(left, 0.5))
                if early is not None and early.error() is None:
                    # A partition that was given to us meanwhile: its turn comes later.
                    back = TopicPartition(early.topic() or "", early.partition() or 0, early.offset() or 0)
                    paused.append(back)
                    self._consumer.pause([back])
                    self._consumer.seek(back)
        finally:
            # Those taken away too: librdkafka keeps them paused, and should they come back, forever.
            self._consumer.resume(paused)
        return not self._lost & {(record.topic, record.partition) for record in self._batch}

    def _rewind(self, batch: list[Record]) -> None:
        starts: dict[Partition, int] = {}
        for record in batch:
            starts.setdefault((record.topic, record.partition), record.offset)
        for (topic, partition), start in starts.items():
            if (topic, partition) not in self._lost:
                self._consumer.seek(TopicPartition(topic, partition, start))

    def _seek(self, starts: Mapping[Partition, int]) -> None:
        for (topic, partition), start in starts.items():
            self._uncommitted.pop((topic, partition), None)
            deadline = time.monotonic() + _SEEK_S
            while True:
                try:
                    self._consumer.seek(TopicPartition(topic, partition, start))
                    break
                except KafkaException as error:
                    # A partition that was given a moment ago can't be moved yet.
                    early = error.args[0].code() in (KafkaError._STATE, KafkaError._PREV_IN_PROGRESS)
                    if not early or time.monotonic() > deadline or (topic, partition) not in self._given:
                        raise
                    time.sleep(0.01)

    def _pause(self, partitions: set[Partition]) -> None:
        resumed = self._paused - partitions
        self._paused = partitions
        self._consumer.resume([TopicPartition(*at) for at in resumed & self._given.keys()])
        self._consumer.pause([TopicPartition(*at) for at in partitions & self._given.keys()])

    def _shaken(self, error: KafkaError) -> None:
        """In librdkafka's poll: a broker is gone, or something else went wrong."""
        self.shaken = True
        log.debug("kafka: %s", error)

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._given |= {(p.topic, p.partition): next(self._numbers) for p in partitions}
        log.info("partitions given: %s", _shown(partitions))

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(p.topic, p.partition) for p in partitions}
        if self._uncommitted.keys() & gone:
            self._commit_ends()
        self._forget(gone)
        log.info("partitions taken away: %s", _shown(partitions))

    def _missed(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """They have gone to others already: this consumer was silent for too long."""
        self._forget({(p.topic, p.partition) for p in partitions})
        log.warning("partitions lost: %s", _shown(partitions))

    def _forget(self, gone: set[Partition]) -> None:
        # librdkafka keeps them paused, and should they come back, forever.
        self._consumer.resume([TopicPartition(*at) for at in self._paused & gone])
        self._lost |= gone
        self._paused -= gone
        for p in gone:
            self._uncommitted.pop(p, None)
            self._given.pop(p, None)


def _shown(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{p.topic}/{p.partition}" for p in partitions) or "none"


def _records(messages: Sequence[Message]) -> list[Record]:
    records = []
    for message in messages:
        error = message.error()
        if error is None:
            records.append(Record(message))
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)
    return records
