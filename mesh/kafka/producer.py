"""A producer for asyncio on confluent-kafka's synchronous one."""

import asyncio
import contextlib
import functools
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Counter, Gauge

from mesh import identity, spans, tracing
from mesh.errors import MarqueeError, exhausted, unavailable
from mesh.kafka.config import KafkaConfig
from mesh.kafka.portion import PLACE_UNKNOWN, Headers, Portion, header_of
from mesh.metrics import Group
from mesh.tasks import retrieved

log = logging.getLogger(__name__)

_METRICS: Final = Group()

IN_FLIGHT: Final = Gauge(
    "marquee_kafka_producer_in_flight",
    "Messages handed to Kafka and not yet acknowledged. At MARQUEE_KAFKA_MAX_IN_FLIGHT new ones are refused.",
    registry=_METRICS,
)
PRODUCED: Final = Counter(
    "marquee_kafka_produced_total",
    "Messages by outcome: acknowledged, failed, refused.",
    ("topic", "outcome"),
    registry=_METRICS,
)
_produced: Final = functools.cache(PRODUCED.labels)


@dataclass(frozen=True, slots=True)
class Sent:
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
        _METRICS.export()
        self._config = config
        self._producer = _make_producer(config)
        self._loop = asyncio.get_running_loop()
        self._delivered: deque[tuple[asyncio.Future[Sent], KafkaError | None, Sent | None]] = deque()
        self._portions: deque[Portion] = deque()
        self._woken = False
        self._in_flight = 0
        self._in_portions = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._thread.start()

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, str] | None = None,
        partition: int = -1,
    ) -> Sent:
        """Sends a message and waits until the log has it; without a partition, the key chooses one.

        After UNAVAILABLE the message may or may not stand in the log: send it
        again with the same id, and let the reader drop the second one.

        Raises:
            MarqueeError: RESOURCE_EXHAUSTED `OVERLOADED` if too many are under way,
                UNAVAILABLE `QUEUE_UNAVAILABLE` if Kafka did not acknowledge in time.
        """
        with spans.sending(topic):
            done = self._produce(topic, key, value, _traced(headers), partition)
            try:
                # Cancelled with the caller, `done` says no more: the message is on its way nevertheless.
                async with asyncio.timeout(self._config.timeout_s + 1):
                    position = await done
            except (TimeoutError, KafkaException) as error:
                raise _failed(topic, error) from error
        _produced(topic, "acknowledged").inc()
        return position

    async def send_all(
        self, topic: str, messages: Sequence[tuple[bytes, bytes]], traces: Sequence[str] = ()
    ) -> list[bool]:
        """Sends (key, value)s, and waits until the log has them; returns of each whether it is known to.

        `traces` are their `traceparent`s, empty where there is none.

        It costs less than as many calls of `send`. A message that is not known to be in the log may be there
        nevertheless.
        """
        wanted = [(key, value, header_of(traces, number)) for number, (key, value) in enumerate(messages)]
        portion, _ = self._produce_portion(topic, wanted)  # those that have no room may go the next time
        await self._wait_for(portion)
        taken = [isinstance(end, int) for end in portion.ends()]
        PRODUCED.labels(topic, "acknowledged").inc(sum(taken))
        if not all(taken):
            PRODUCED.labels(topic, "failed").inc(len(taken) - sum(taken))
            log.warning("%s did not acknowledge %d of %d", topic, len(taken) - sum(taken), len(messages))
        return taken + [False] * (len(messages) - len(taken))

    async def send_in_order(
        self, topic: str, key: bytes, values: Sequence[bytes], headers: Mapping[str, str], partition: int
    ) -> list[int | MarqueeError]:
        """Sends values to one partition in their order, and waits until the log has them.

        Costs less than as many calls of `send`, and leaves them room: such portions wait for one another
        rather than take more than half of what may be under way.

        Returns:
            Of each its offset, `PLACE_UNKNOWN` where that is not known, or what `send` would raise. After
            one that found no room none is sent.
        """
        with spans.sending(topic):
            try:
                async with asyncio.timeout(self._config.timeout_s), self._turn:
                    while not self._has_room_for(len(values)):
                        self._freed.clear()
                        await self._freed.wait()
                    carried: Headers = [*(_traced(headers) or {}).items()]
                    wanted = [(key, value, carried) for value in values]
                    portion, error = self._produce_portion(topic, wanted, partition)
            except TimeoutError:
                PRODUCED.labels(topic, "refused").inc(len(values))
                return [_no_room()] * len(values)
            await self._wait_for(portion)
        ends = _told(topic, portion.ends())
        return ends if error is None else ends + [error] * (len(values) - len(ends))

    def _has_room_for(self, count: int) -> bool:
        return self._in_portions == 0 or self._in_portions + count <= self._config.max_in_flight // 2

    def _produce_portion(
        self, topic: str, messages: Sequence[tuple[bytes, bytes, Headers]], partition: int = -1
    ) -> tuple[Portion, MarqueeError | None]:
        """Hands (key, value, headers)s to librdkafka; returns them, and why there are not all of them."""
        portion = Portion(self._loop.create_future(), len(messages), self._portion_ended)
        error: MarqueeError | None = None
        produce, room = self._producer.produce, self._config.max_in_flight - self._in_flight
        for number, (key, value, headers) in enumerate(messages):
            try:
                if number >= room:
                    raise BufferError
                produce(topic, value, key, partition, on_delivery=portion.report(number), headers=headers)
            except BufferError:
                PRODUCED.labels(topic, "refused").inc(len(messages) - number)
                error = _no_room()
            except KafkaException as cause:
                error = _failed(topic, cause, len(messages) - number)
                error.__cause__ = cause
            if error is not None:
                portion.cut(number)
                break
        self._in_portions += portion.sent
        self._count(portion.sent)
        return portion, error

    async def _wait_for(self, portion: Portion) -> None:
        if portion.sent:
            await asyncio.wait((portion.done,), timeout=self._config.timeout_s + 1)

    def _produce(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        headers: Mapping[str, str | bytes | None] | None = None,
        partition: int = -1,
    ) -> asyncio.Future[Sent]:
        """Hands a message to librdkafka; returns what is set once the log has it. Raises like `send`."""
        if self._in_flight >= self._config.max_in_flight:
            PRODUCED.labels(topic, "refused").inc()
            raise _no_room()
        done: asyncio.Future[Sent] = self._loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._report(done, error, message)

        try:
            given = [*(headers or {}).items()]
            self._producer.produce(topic, value, key, partition, on_delivery=delivered, headers=given)
        except BufferError:
            PRODUCED.labels(topic, "refused").inc()
            raise _no_room() from None
        except KafkaException as error:
            raise _failed(topic, error) from error
        self._count(1)
        # Nobody may be left to take the outcome: the caller can be cancelled.
        done.add_done_callback(retrieved)
        return done

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
        """In the polling thread: starts again after a fatal error, after which a producer takes nothing more.

        What was under way ends as not acknowledged.
        """
        log.error("the Kafka producer failed for good and is replaced: %s", error)
        broken, self._producer = self._producer, _make_producer(self._config)
        with contextlib.suppress(KafkaException):
            broken.purge()
            broken.flush(1)

    def _report(self, done: asyncio.Future[Sent], error: KafkaError | None, message: Message) -> None:
        """In the polling thread: hands a delivery over to the event loop."""
        position = None
        if error is None:
            offset = message.offset()
            position = Sent(message.partition() or 0, PLACE_UNKNOWN if offset is None else offset)
        self._delivered.append((done, error, position))
        self._wake()

    def _portion_ended(self, portion: Portion) -> None:
        """In the polling thread mostly: hands a whole portion over to the event loop."""
        self._portions.append(portion)
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._settle)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._delivered.clear()
                self._portions.clear()

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
        while self._portions:
            portion = self._portions.popleft()
            if not portion.done.done():
                portion.done.set_result(None)
                self._in_portions -= portion.sent
                self._in_flight -= portion.sent
                self._freed.set()
        IN_FLIGHT.set(self._in_flight)

    def _count(self, more: int) -> None:
        self._in_flight += more
        IN_FLIGHT.set(self._in_flight)


def _traced(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """With the trace that the message is part of, unless the headers say already which."""
    found = tracing.traceparent()
    return {identity.TRACEPARENT_HEADER: found, **(headers or {})} if found else headers


def _make_producer(config: KafkaConfig) -> Producer:
    # For so long a leader waits for the copies.
    request_ms = max(1000, int(config.timeout_s * 500))
    return Producer(
        {
            **config.client,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": config.linger_ms,
            "message.timeout.ms": int(config.timeout_s * 1000),
            "request.timeout.ms": request_ms,
            # A leader that hangs answers nothing: while there is time, its messages go to the next one.
            "socket.timeout.ms": request_ms + 250,
            # And who that is nobody tells who does not ask.
            "topic.metadata.refresh.interval.ms": 2000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "queue.buffering.max.messages": config.max_in_flight * 2,
            "log_level": 3,
        }
    )


def _told(topic: str, ends: Sequence[int | KafkaError | None]) -> list[int | MarqueeError]:
    """What the caller is told of a portion; those that failed alike share an error."""
    told: list[int | MarqueeError] = []
    failed: dict[int | None, MarqueeError] = {}
    acknowledged = 0
    for end in ends:
        if isinstance(end, int):
            acknowledged += 1
            told.append(end)
            continue
        code = None if end is None else end.code()
        if code not in failed:
            cause = TimeoutError() if end is None else KafkaException(end)
            failed[code] = _failed(topic, cause, 0)
            failed[code].__cause__ = cause
        PRODUCED.labels(topic, "failed").inc()
        told.append(failed[code])
    PRODUCED.labels(topic, "acknowledged").inc(acknowledged)
    return told


def _no_room() -> MarqueeError:
    return exhausted("OVERLOADED", "too many writes are under way; try again", retry_after=1)


def _failed(topic: str, error: Exception, count: int = 1) -> MarqueeError:
    PRODUCED.labels(topic, "failed").inc(count)
    log.warning("%s did not acknowledge: %s", topic, error or "time-out")
    return unavailable("QUEUE_UNAVAILABLE", "the write could not be queued in time; try again", retry_after=2)
