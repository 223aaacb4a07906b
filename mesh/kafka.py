"""Kafka: topics declared in code, a producer and a batch consumer for asyncio.

Both wrap confluent-kafka's synchronous clients. Its own asyncio producer adds
100–200 ms and refuses headers; aiokafka costs more than twice the CPU a message
(see docs/decisions).
"""

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client import Counter, Gauge

from mesh.config import setting
from mesh.errors import MarqueeError, exhausted, unavailable

log = logging.getLogger(__name__)

IN_FLIGHT: Final = Gauge(
    "marquee_kafka_producer_in_flight",
    "Messages handed to Kafka and not yet acknowledged. At MARQUEE_KAFKA_MAX_IN_FLIGHT new ones are refused.",
)
PRODUCED: Final = Counter(
    "marquee_kafka_produced_total",
    "Messages by outcome: acknowledged, failed, refused.",
    ("topic", "outcome"),
)
LAG: Final = Gauge(
    "marquee_kafka_consumer_lag",
    "Messages in the partition that this consumer has not committed. Grows for minutes: add workers.",
    ("topic", "partition"),
)


@dataclass(frozen=True)
class KafkaConfig:
    """Where Kafka is and how it is used."""

    bootstrap: str = setting("MARQUEE_KAFKA_BOOTSTRAP", help="host:port of the brokers, separated by commas")
    replication: int = setting(
        "MARQUEE_KAFKA_REPLICATION", 1, "copies of each topic that is created; 3 in production", low=1, high=5
    )
    max_in_flight: int = setting(
        "MARQUEE_KAFKA_MAX_IN_FLIGHT", 2000, "messages not yet acknowledged, at most", low=1
    )
    timeout_s: float = setting(
        "MARQUEE_KAFKA_TIMEOUT_S", 3.0, "how long a message may take to be acknowledged, in seconds", low=0.1
    )
    linger_ms: float = setting(
        "MARQUEE_KAFKA_LINGER_MS", 2.0, "how long a message waits for others to go with it, in ms", low=0
    )
    session_timeout_s: float = setting(
        "MARQUEE_KAFKA_SESSION_TIMEOUT_S",
        10.0,
        "after how long without a heartbeat a consumer's partitions go to others, in seconds",
        low=6,
    )


@dataclass(frozen=True)
class Topic:
    """A topic as it must be."""

    name: str
    partitions: int
    retention_s: int | None = None
    compacted: bool = False
    config: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """The topic's configuration in Kafka's own names."""
        made = {"cleanup.policy": "compact" if self.compacted else "delete", **self.config}
        if self.retention_s is not None:
            made["retention.ms"] = str(self.retention_s * 1000)
        return made


async def ensure_topics(config: KafkaConfig, topics: Sequence[Topic], timeout_s: float = 30.0) -> None:
    """Creates the topics that are missing. Waits for the brokers to come.

    Raises:
        RuntimeError: the brokers stayed away for `timeout_s`.
        KafkaException: they refused.
    """
    await asyncio.to_thread(_ensure_topics, config, topics, timeout_s)


def _ensure_topics(config: KafkaConfig, topics: Sequence[Topic], timeout_s: float) -> None:
    admin = _admin(config.bootstrap)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            known = set(admin.list_topics(timeout=2).topics)
            break
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka at {config.bootstrap} stayed away for {timeout_s:g} s") from error
    missing = [topic for topic in topics if topic.name not in known]
    if not missing:
        return
    created = admin.create_topics(
        [NewTopic(t.name, t.partitions, config.replication, config=t.settings()) for t in missing],
        request_timeout=15,
    )
    for name, future in created.items():
        try:
            future.result()
            log.info("created topic %s", name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


@functools.cache
def _admin(bootstrap: str) -> AdminClient:
    """One client a process: each has threads and connections of its own."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


@dataclass(frozen=True)
class TopicIdentity:
    """What tells a topic from another one of the same name, in which offsets mean something else."""

    id: str
    """Drawn by the brokers when the topic was created."""
    partitions: int


async def identify(config: KafkaConfig, topic: str) -> TopicIdentity:
    """Asks the brokers which topic that is.

    Raises:
        KafkaException: there is none, or no broker answered.
    """
    answer = _admin(config.bootstrap).describe_topics(TopicCollection([topic]), request_timeout=5)[topic]
    description = await asyncio.wrap_future(answer)
    return TopicIdentity(str(description.topic_id), len(description.partitions))


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message stands in the log."""

    partition: int
    offset: int
    """-1 if not known: a retry found the message there already, and the broker does not say where."""


class KafkaProducer:
    """Sends messages; idempotent, `acks=all`, bounded in number and in time.

    librdkafka reports deliveries in the thread that polls. That thread puts them
    into a queue and wakes the event loop once for all that have come since the
    last time, not once a message.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._producer = _make_producer(config)
        self._loop = asyncio.get_running_loop()
        self._delivered: deque[tuple[asyncio.Future[Position], KafkaError | None, Position | None]] = deque()
        self._woken = False
        self._in_flight = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._thread.start()

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Position:
        """Sends a message and waits until the log has it.

        After UNAVAILABLE the message may or may not stand in the log: send it
        again with the same id, and let the reader drop the second one.

        Raises:
            MarqueeError: RESOURCE_EXHAUSTED `OVERLOADED` if too many are under way,
                UNAVAILABLE `QUEUE_UNAVAILABLE` if Kafka did not acknowledge in time.
        """
        if self._in_flight >= self._config.max_in_flight:
            PRODUCED.labels(topic, "refused").inc()
            raise exhausted("OVERLOADED", "too many writes are under way; try again", retry_after=1)
        done: asyncio.Future[Position] = self._loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._report(done, error, message)

        try:
            self._producer.produce(
                topic,
                value,
                key,
                on_delivery=delivered,
                headers=[(name, text.encode()) for name, text in (headers or {}).items()],
            )
        except BufferError:
            PRODUCED.labels(topic, "refused").inc()
            raise exhausted("OVERLOADED", "too many writes are under way; try again", retry_after=1) from None
        except KafkaException as error:
            raise _failed(topic, error) from error
        self._in_flight += 1
        IN_FLIGHT.set(self._in_flight)
        # Nobody may be left to take the outcome: the caller can be cancelled.
        done.add_done_callback(_ignore)
        try:
            # `done` must not be cancelled with the caller: the message is on its way all the same.
            position = await asyncio.wait_for(asyncio.shield(done), timeout_s or self._config.timeout_s + 1)
        except (TimeoutError, KafkaException) as error:
            raise _failed(topic, error) from error
        PRODUCED.labels(topic, "acknowledged").inc()
        return position

    async def ping(self) -> None:
        """Raises if no broker answers. For health."""
        await asyncio.to_thread(self._producer.list_topics, timeout=1.5)

    async def close(self, timeout_s: float = 5.0) -> None:
        """Waits until all messages under way have ended, at most `timeout_s`."""
        await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closing.set()
        await asyncio.to_thread(self._thread.join, 2)

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(0.2)
            except KafkaException as error:
                self._replace(error)

    def _replace(self, error: KafkaException) -> None:
        """In the polling thread: starts anew after a fatal error, after which a producer takes nothing more.

        What was under way ends as not acknowledged.
        """
        log.error("the Kafka producer failed for good and is replaced: %s", error)
        broken, self._producer = self._producer, _make_producer(self._config)
        with contextlib.suppress(KafkaException):
            broken.purge()
            broken.flush(1)

    def _report(self, done: asyncio.Future[Position], error: KafkaError | None, message: Message) -> None:
        """In the polling thread: hands a delivery over to the event loop."""
        position = None
        if error is None:
            offset = message.offset()
            position = Position(message.partition() or 0, -1 if offset is None else offset)
        self._delivered.append((done, error, position))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._settle)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._delivered.clear()

    def _settle(self) -> None:
        """In the event loop: settles all deliveries that have come."""
        self._woken = False
        while self._delivered:
            done, error, position = self._delivered.popleft()
            self._in_flight -= 1
            if done.done():
                continue
            if position is None:
                done.set_exception(KafkaException(error))
            else:
                done.set_result(position)
        IN_FLIGHT.set(self._in_flight)


def _make_producer(config: KafkaConfig) -> Producer:
    return Producer(
        {
            "bootstrap.servers": config.bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": config.linger_ms,
            "message.timeout.ms": int(config.timeout_s * 1000),
            "request.timeout.ms": max(1000, int(config.timeout_s * 500)),
            "socket.timeout.ms": 10_000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "queue.buffering.max.messages": config.max_in_flight * 2,
            "log_level": 3,
        }
    )


def _failed(topic: str, error: Exception) -> MarqueeError:
    PRODUCED.labels(topic, "failed").inc()
    log.warning("%s did not acknowledge: %s", topic, error or "time-out")
    return unavailable("QUEUE_UNAVAILABLE", "the write could not be queued in time; try again", retry_after=2)


def _ignore(done: asyncio.Future[Position]) -> None:
    if not done.cancelled():
        done.exception()


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
                "max.poll.interval.ms": 120_000,
                "reconnect.backoff.max.ms": 1000,
                "queued.max.messages.kbytes": 8192,
                "log_level": 3,
            }
        )
        self._topics = list(topics)
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
        """Leaves the group, so that others take over at once."""
        await self._run(self._consumer.close)
        self._thread.shutdown(wait=False)

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
                messages += self._consumer.consume(limit - 1, 0.005)
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
        assigned = self._consumer.assignment()
        self._consumer.pause(assigned)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            early = self._consumer.poll(min(left, 0.5))
            if early is not None and early.error() is None:
                # A partition that was given to us meanwhile: its turn comes later.
                back = TopicPartition(early.topic() or "", early.partition() or 0, early.offset() or 0)
                self._consumer.pause([back])
                self._consumer.seek(back)
        still = self._consumer.assignment()
        self._consumer.resume(still)
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
