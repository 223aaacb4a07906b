"""The producer with brokers that answer: what it hands over, what it waits for, and what it lets go of."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from prometheus_client import REGISTRY

from mesh import identity
from mesh.errors import MarqueeError
from mesh.kafka import KafkaConfig, KafkaProducer, producer
from mesh.kafka.portion import PLACE_UNKNOWN, Portion, header_of
from mesh.kafka.producer import PRODUCED, Sent

PARTITIONS = 4


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """The brokers that librdkafka brings along for its own tests: real sockets, the real protocol."""
    client = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1})
    found = client.list_topics(timeout=30).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in found)
    client.flush(0)  # lives until here, and its brokers with it


@contextlib.asynccontextmanager
async def producing(brokers: str, **settings: Any) -> AsyncIterator[KafkaProducer]:
    made = KafkaProducer(KafkaConfig(bootstrap=brokers, timeout_s=30, **settings))
    try:
        yield made
    finally:
        await made.close()


def read(brokers: str, topic: str, partitions: Iterable[int], number: int) -> list[Message]:
    """The first messages of some partitions."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found: list[Message] = []
    end = time.monotonic() + 60
    while len(found) < number and time.monotonic() < end:
        found += [message for message in consumer.consume(number, 0.1) if message.error() is None]
    consumer.close()
    return found


def counted(topic: str, outcome: str) -> float:
    return PRODUCED.labels(topic, outcome)._value.get()


def under_way() -> float | None:
    """As an operator sees it."""
    return REGISTRY.get_sample_value("marquee_kafka_producer_in_flight")


async def test_a_message_stands_whole_where_it_is_said_to_stand(brokers: str) -> None:
    async with producing(brokers) as kafka:
        headers = {"traceparent": "00-1-2-01", "name": "caf\u00e9"}
        assert await kafka.send("whole", b"ann", b"one", headers, partition=2) == Sent(2, 0)
        assert await kafka.send("whole", b"bob", b"two", partition=2) == Sent(2, 1)
    first, second = await asyncio.to_thread(read, brokers, "whole", [2], 2)
    assert (first.key(), first.value()) == (b"ann", b"one")
    assert first.headers() == [("traceparent", b"00-1-2-01"), ("name", "caf\u00e9".encode())]
    assert (second.key(), second.value(), second.headers()) == (b"bob", b"two", None)
    assert counted("whole", "acknowledged") == 2


async def test_without_a_partition_the_key_chooses_one_and_always_the_same(brokers: str) -> None:
    async with producing(brokers) as kafka:
        by_key = {
            key: {(await kafka.send("keyed", key.encode(), b"x")).partition for _ in range(3)}
            for key in "abcdefgh"
        }
    assert all(len(partitions) == 1 for partitions in by_key.values())
    assert len(set.union(*by_key.values())) > 1


async def test_there_is_room_for_so_many_and_again_once_the_log_has_them(brokers: str) -> None:
    async with producing(brokers, max_in_flight=3) as kafka:
        waiting = [asyncio.create_task(kafka.send("room", b"k", b"v")) for _ in range(3)]
        await asyncio.sleep(0)
        assert under_way() == 3
        with pytest.raises(MarqueeError) as caught:
            await kafka.send("room", b"k", b"v")
        assert (caught.value.reason, caught.value.retry_after) == ("OVERLOADED", 1)
        assert not any(task.done() for task in waiting)
        await asyncio.gather(*waiting)
        assert under_way() == 0
        await asyncio.gather(*(kafka.send("room", b"k", b"v") for _ in range(3)))
    assert (counted("room", "refused"), counted("room", "acknowledged")) == (1, 6)


async def test_where_librdkafka_has_no_room_left_a_write_may_be_tried_again(
    brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with producing(brokers, max_in_flight=3) as kafka:

        class Full:
            def produce(self, *_given: Any, **_named: Any) -> None:
                raise BufferError

        with monkeypatch.context() as patch:
            patch.setattr(kafka, "_producer", Full())
            with pytest.raises(MarqueeError) as caught:
                await kafka.send("full", b"k", b"v")
    assert (caught.value.reason, caught.value.retry_after) == ("OVERLOADED", 1)
    assert counted("full", "refused") == 1


async def test_of_many_at_once_each_is_said_to_be_there_or_not(brokers: str) -> None:
    messages = [(b"k%d" % number, b"v") for number in range(5)]
    async with producing(brokers, max_in_flight=3) as kafka:
        assert await kafka.send_all("many", messages) == [True, True, True, False, False]
        assert await kafka.send_all("many", messages[3:]) == [True, True]
        assert await kafka.send_all("many", []) == []
    assert (counted("many", "acknowledged"), counted("many", "failed")) == (5, 0)
    found = await asyncio.to_thread(read, brokers, "many", range(PARTITIONS), 5)
    assert sorted((message.key(), message.value()) for message in found) == messages


async def test_of_many_that_no_broker_takes_none_is_said_to_be_there() -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap="127.0.0.1:1", timeout_s=0.1))
    async with asyncio.timeout(60):
        assert await kafka.send_all("nowhere", [(b"k", b"v"), (b"l", b"w")]) == [False, False]
    assert (counted("nowhere", "acknowledged"), counted("nowhere", "failed")) == (0, 2)
    await kafka.close(0)


async def test_of_a_portion_that_fails_in_part_each_is_counted(
    brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with producing(brokers) as kafka:
        outcomes = iter((None, KafkaError(KafkaError._MSG_TIMED_OUT), None))

        class Partly:
            def produce(self, *_given: Any, on_delivery: Any, **_named: Any) -> None:
                on_delivery(next(outcomes), Delivered(0, 0))

        with monkeypatch.context() as patch:
            patch.setattr(kafka, "_producer", Partly())
            assert await kafka.send_all("part", [(b"k", b"v")] * 3) == [True, False, True]
    assert (counted("part", "acknowledged"), counted("part", "failed")) == (2, 1)


async def test_a_message_goes_its_way_though_its_caller_has_left(brokers: str) -> None:
    async with producing(brokers, linger_ms=50) as kafka:
        sending = asyncio.create_task(kafka.send("left", b"k", b"first", partition=0))
        await asyncio.sleep(0)
        sending.cancel()
        assert await kafka.send("left", b"k", b"second", partition=0) == Sent(0, 1)
        assert under_way() == 0
    assert [m.value() for m in await asyncio.to_thread(read, brokers, "left", [0], 2)] == [
        b"first",
        b"second",
    ]


async def test_closing_waits_until_the_log_has_what_is_under_way(brokers: str) -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap=brokers, timeout_s=30, linger_ms=500))
    sending = asyncio.create_task(kafka.send("closed", b"k", b"v", partition=1))
    await asyncio.sleep(0)
    await kafka.close(60)
    assert await asyncio.wait_for(sending, 60) == Sent(1, 0)
    assert not kafka._thread.is_alive()


async def test_what_no_broker_takes_is_counted_as_failed_and_may_be_tried_again() -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap="127.0.0.1:1", timeout_s=0.1))
    with pytest.raises(MarqueeError) as caught:
        async with asyncio.timeout(60):
            await kafka.send("failed", b"k", b"v")
    assert (caught.value.reason, caught.value.retry_after) == ("QUEUE_UNAVAILABLE", 2)
    assert counted("failed", "failed") == 1
    await kafka.close(0)


class Delivered:
    """A message as librdkafka reports it. After a retry that the broker had already, it knows no place."""

    def __init__(self, partition: int | None, offset: int | None) -> None:
        self.partition = lambda: partition
        self.offset = lambda: offset


async def test_a_place_that_is_not_known_is_not_the_first_one(brokers: str) -> None:
    async with producing(brokers) as kafka:
        for told, expected in (((3, 0), Sent(3, 0)), ((3, None), Sent(3, -1)), ((None, 7), Sent(0, 7))):
            done = asyncio.get_running_loop().create_future()
            kafka._report(done, None, Delivered(*told))  # type: ignore[arg-type]
            assert await asyncio.wait_for(done, 60) == expected


def test_a_write_counts_once_all_copies_have_it_and_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(producer, "Producer", made.append)
    for timeout_s in (3.0, 0.5):
        producer._make_producer(KafkaConfig(bootstrap="kafka:9092", timeout_s=timeout_s, max_in_flight=2000))
    usual, hasty = made
    assert (usual["bootstrap.servers"], usual["acks"], usual["enable.idempotence"]) == (
        "kafka:9092",
        "all",
        True,
    )
    assert [settings["message.timeout.ms"] for settings in made] == [3000, 500]
    # A leader that hangs is given up while there is time for the next one, not before a slow copy answers.
    assert [settings["request.timeout.ms"] for settings in made] == [1500, 1000]
    assert all(settings["socket.timeout.ms"] > settings["request.timeout.ms"] for settings in made)
    assert usual["topic.metadata.refresh.interval.ms"] < usual["message.timeout.ms"]
    # What this side admits, the library has room for.
    assert hasty["queue.buffering.max.messages"] >= 2 * 2000


def test_each_of_many_messages_has_the_trace_that_it_belongs_to() -> None:
    traces = ["", "00-one"]
    assert header_of(traces, 0) == []
    assert header_of(traces, 1) == [(identity.TRACEPARENT_HEADER, "00-one")]
    assert header_of([], 1) == []


async def test_the_log_says_why_kafka_took_nothing(caplog: pytest.LogCaptureFixture) -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap="127.0.0.1:1", timeout_s=0.1))
    async with asyncio.timeout(60):
        with pytest.raises(MarqueeError):
            await kafka.send("why", b"k", b"v")
    await kafka.close(0)
    assert "why did not acknowledge: KafkaError{code=_MSG_TIMED_OUT" in caplog.text


async def test_closing_does_not_wait_for_a_broker_that_is_away() -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap="127.0.0.1:1", timeout_s=300))
    sending = asyncio.create_task(kafka.send("away", b"k", b"v"))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await kafka.close(0.1)
    sending.cancel()


async def test_a_message_keeps_its_own_headers_beside_those_of_its_trace(
    brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.tracing.traceparent", lambda: "00-one")
    async with producing(brokers) as kafka:
        await kafka.send("traced", b"k", b"v", {"own": "1"}, partition=0)
    (message,) = await asyncio.to_thread(read, brokers, "traced", [0], 1)
    assert dict(message.headers() or ()) == {identity.TRACEPARENT_HEADER: b"00-one", "own": b"1"}


async def test_values_sent_in_order_stand_where_they_are_said_to_stand(
    brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.tracing.traceparent", lambda: "00-one")
    values = [b"v%d" % number for number in range(100)]
    async with producing(brokers) as kafka:
        await kafka.send("ordered", b"k", b"before", partition=2)
        assert await kafka.send_in_order("ordered", b"k", values, {"own": "1"}, 2) == list(range(1, 101))
        assert await kafka.send_in_order("ordered", b"k", [], {}, 2) == []
        assert under_way() == 0
    found = (await asyncio.to_thread(read, brokers, "ordered", [2], 101))[1:]
    assert [message.value() for message in found] == values
    assert {message.key() for message in found} == {b"k"}
    assert all(dict(m.headers() or ()) == {"traceparent": b"00-one", "own": b"1"} for m in found)
    assert counted("ordered", "acknowledged") == 101


async def test_of_values_sent_in_order_none_goes_after_one_that_found_no_room(brokers: str) -> None:
    async with producing(brokers, max_in_flight=3) as kafka:
        first, second, third, *others = await kafka.send_in_order("cut", b"k", [b"v"] * 5, {}, 0)
        assert [first, second, third] == [0, 1, 2]
        assert [end.reason for end in others if isinstance(end, MarqueeError)] == ["OVERLOADED"] * 2
        assert under_way() == 0
    assert (counted("cut", "acknowledged"), counted("cut", "refused")) == (3, 2)


async def test_portions_wait_for_one_another_and_leave_room_for_single_messages(brokers: str) -> None:
    async with producing(brokers, max_in_flight=8, linger_ms=50) as kafka:
        portions = [
            asyncio.create_task(kafka.send_in_order("turns", b"k", [b"%d" % n] * 3, {}, 0)) for n in range(4)
        ]
        await asyncio.sleep(0)
        assert under_way() == 3, "another one would take more than half of the room"
        single = await kafka.send("turns", b"k", b"single", partition=1)
        assert single == Sent(1, 0)
        # Nothing is refused, and who came first goes first.
        assert await asyncio.gather(*portions) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
        assert under_way() == 0
    assert counted("turns", "refused") == 0


async def test_a_portion_that_waits_in_vain_may_be_sent_again() -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap="127.0.0.1:1", timeout_s=0.5, max_in_flight=4))
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*(kafka.send_in_order("vain", b"k", [b"v"] * 2, {}, 0) for _ in range(9)))
        await kafka.close(0)
    reasons = {end.reason for portion in ends for end in portion if isinstance(end, MarqueeError)}
    assert reasons == {"QUEUE_UNAVAILABLE", "OVERLOADED"}
    assert sum(map(len, ends)) == 18
    assert counted("vain", "failed") + counted("vain", "refused") == 18


async def test_values_that_no_broker_takes_may_be_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    kafka = KafkaProducer(KafkaConfig(bootstrap="127.0.0.1:1", timeout_s=0.1))
    async with asyncio.timeout(60):
        ends = await kafka.send_in_order("lost", b"k", [b"v"] * 3, {}, 0)
    await kafka.close(0)
    assert [end.reason for end in ends if isinstance(end, MarqueeError)] == ["QUEUE_UNAVAILABLE"] * 3
    assert counted("lost", "failed") == 3
    assert caplog.text.count("lost did not acknowledge: KafkaError{code=_MSG_TIMED_OUT") == 1


async def test_a_portion_whose_caller_has_left_frees_its_room(brokers: str) -> None:
    async with producing(brokers, max_in_flight=4, linger_ms=50) as kafka:
        sending = asyncio.create_task(kafka.send_in_order("gone", b"k", [b"v"] * 2, {}, 0))
        await asyncio.sleep(0)
        sending.cancel()
        assert await kafka.send_in_order("gone", b"k", [b"w"] * 2, {}, 0) == [2, 3]
        assert under_way() == 0


async def test_where_a_place_is_not_known_the_portion_says_so() -> None:
    ended: list[Portion] = []
    portion = Portion(asyncio.get_running_loop().create_future(), 3, ended.append)
    portion.report(2)(None, Delivered(0, 7))  # type: ignore[arg-type]
    portion.report(0)(None, Delivered(0, None))  # type: ignore[arg-type]
    assert (ended, portion.ends()) == ([], [PLACE_UNKNOWN, None, 7])
    failed = KafkaError(KafkaError._MSG_TIMED_OUT)
    portion.report(1)(failed, Delivered(0, None))  # type: ignore[arg-type]
    assert (ended, portion.ends()) == ([portion], [PLACE_UNKNOWN, failed, 7])
