"""A consumer of batches for asyncio on confluent-kafka's synchronous one."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from prometheus_client import Gauge

from mesh.kafka.config import KafkaConfig

log = logging.getLogger(__name__)

LAG: Final = Gauge(
    "marquee_kafka_consumer_lag",
    "Messages in the partition that this consumer has not committed. Grows for minutes: add workers.",
    ("topic", "partition"),
)


class Record:
    """A message that was read."""

    __slots__ = ("headers", "key", "offset", "partition", "topic", "value")

    def __init__(self, message: Message) -> None:
        self.topic: str = message.topic() or ""
        self.partition: int = message.partition() or 0
        self.offset: int = message.offset() or 0
        self.key: bytes = _bytes(message.key())
        self.value: bytes = _bytes(message.value())
        pairs = cast(list[tuple[str, bytes | None]], message.headers() or [])
        self.headers: dict[str, str] = {name: _bytes(value).decode(errors="replace") for name, value in pairs}


class BatchConsumer:
    """Reads batches; a batch is committed after it has been dealt with, and not before.

        while True:
            batch = await consumer.next_batch(500, timeout_s=1.0)
            ...one transaction...
            await consumer.commit()

    If dealing with a batch must wait (the database is away), `wait` keeps the
    membership alive and says whether the batch is still this consumer's to deal
    with. Partitions are only taken away inside `next_batch`, `wait` and
    `commit`, so a batch is never dealt with behind a rebalance's back for long:
    what was redelivered to another consumer is for the database's guards.
    """

    def __init__(self, config: KafkaConfig, group: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": config.bootstrap,
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
                "log_level": 3,
            }
        )
        self._topics = list(topics)
        self._gather_s = config.gather_ms / 1000
        # librdkafka's consumer is not for several threads at once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-consumer")
        self._batch: list[Record] = []
        self._lost: set[tuple[str, int]] = set()
        self._uncommitted: dict[tuple[str, int], int] = {}
        self._subscribed = False

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
        """Commits the batch that was read last.

        A commit that fails, as in the middle of a rebalance, is logged and not
        raised, and tried again with the next batch. If the partition goes to
        another consumer first, the messages are read again, and the database's
        guards know them.
        """
        if self._batch:
            await self._run(self._commit, self._batch)
            self._batch = []

    async def wait(self, seconds: float) -> bool:
        """Waits while keeping the membership; False if a partition of the batch was taken away meanwhile.

        After False drop the batch: others deal with what was taken away, and
        `next_batch` reads the rest again.
        """
        return bool(await self._run(self._hold, seconds))

    async def rewind(self) -> None:
        """Gives the uncommitted batch back: `next_batch` reads it again."""
        await self._run(self._rewind, self._batch)
        self._batch = []

    async def ping(self) -> None:
        """Raises if no broker answers. For health."""
        await asyncio.to_thread(self._consumer.list_topics, timeout=1.5)

    async def close(self) -> None:
        """Leaves the group, so that others take over at once. Goes on if the caller is cancelled."""
        leaving = self._thread.submit(self._consumer.close)
        self._thread.shutdown(wait=False)
        # Cancelled with the caller, it would never begin if the thread is still reading: the group
        # would then miss this consumer only when its session has timed out.
        await asyncio.shield(asyncio.wrap_future(leaving))

    async def _run(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _read(self, limit: int, timeout_s: float) -> list[Record]:
        if not self._subscribed:
            self._consumer.subscribe(
                self._topics, on_assign=_assigned, on_revoke=self._revoked, on_lost=self._revoked
            )
            self._subscribed = True
        self._lost.clear()
        self._commit_ends()
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
        self._commit_ends()

    def _commit_ends(self) -> None:
        """Commits what has been dealt with and not been committed yet."""
        ends = self._uncommitted
        if not ends:
            return
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("could not commit: %s; tried again later", error)
            return
        self._uncommitted = {}
        for (topic, partition), end in ends.items():
            with contextlib.suppress(KafkaException):  # taken away during the commit
                _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
                if high >= end:
                    LAG.labels(topic, partition).set(high - end)

    def _hold(self, seconds: float) -> bool:
        paused = self._consumer.assignment()
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
            # Those taken away too: librdkafka keeps them paused, and should they come back, for ever.
            self._consumer.resume(paused)
        return not self._lost & {(record.topic, record.partition) for record in self._batch}

    def _rewind(self, batch: list[Record]) -> None:
        starts: dict[tuple[str, int], int] = {}
        for record in batch:
            starts.setdefault((record.topic, record.partition), record.offset)
        for (topic, partition), start in starts.items():
            if (topic, partition) not in self._lost:
                self._consumer.seek(TopicPartition(topic, partition, start))

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._lost |= {(p.topic, p.partition) for p in partitions}
        for p in partitions:
            self._uncommitted.pop((p.topic, p.partition), None)
        log.info("partitions taken away: %s", _shown(partitions))
        for p in partitions:
            with contextlib.suppress(KeyError):
                LAG.remove(p.topic, str(p.partition))


def _assigned(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
    log.info("partitions given: %s", _shown(partitions))


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


def _bytes(value: Any) -> bytes:
    return b"" if value is None else value if isinstance(value, bytes) else str(value).encode()
