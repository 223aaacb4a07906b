"""The Kafka chassis where no broker can be reached, or the client library gives up."""

import asyncio
import contextlib
import ctypes
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import grpc
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from mesh.errors import MarqueeError
from mesh.kafka import KafkaConfig, KafkaProducer, Topic, ensure_topics
from mesh.kafka.topics import topic_names
from tests.support.ports import free_port

OUT_OF_ORDER_SEQUENCE = 45


@pytest.fixture
async def mock_brokers() -> AsyncIterator[str]:
    """The brokers that librdkafka brings along for its own tests: real sockets, the real protocol."""
    client = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1})
    brokers = await asyncio.to_thread(client.list_topics, timeout=30)
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers.brokers.values())
    client.flush(0)  # lives until here, and its brokers with it


async def test_a_write_that_no_broker_takes_fails_in_time_and_says_when_to_try_again() -> None:
    config = KafkaConfig(bootstrap=f"127.0.0.1:{free_port()}", timeout_s=0.3)
    producer = KafkaProducer(config)
    with pytest.raises(MarqueeError) as caught:
        async with asyncio.timeout(60):  # Kafka's client by itself goes on for minutes
            await producer.send("topic", b"key", b"value")
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.reason == "QUEUE_UNAVAILABLE"
    assert caught.value.retry_after
    await producer.close(0.1)


async def refused(producer: KafkaProducer) -> str:
    """Why a write is not taken."""
    with pytest.raises(MarqueeError) as caught:
        await producer.send("topic", b"k", b"v")
    return caught.value.reason


async def test_more_writes_than_may_be_under_way_are_refused_at_once() -> None:
    config = KafkaConfig(bootstrap=f"127.0.0.1:{free_port()}", timeout_s=0.3, max_in_flight=3)
    producer = KafkaProducer(config)
    waiting = [asyncio.create_task(producer.send("topic", b"k", b"v")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(MarqueeError) as caught:
        await producer.send("topic", b"k", b"v")
    assert not any(task.done() for task in waiting), "it waits for none of them"
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.reason == "OVERLOADED"
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(end, "reason", end) for end in ended] == ["QUEUE_UNAVAILABLE"] * 3
    # Their places become free again, once Kafka's client has given the messages up too.
    async with asyncio.timeout(60):
        while (reason := await refused(producer)) == "OVERLOADED":
            await asyncio.sleep(0.05)
    assert reason == "QUEUE_UNAVAILABLE"
    await producer.close(0.1)


async def test_a_producer_that_failed_for_good_is_replaced(mock_brokers: str) -> None:
    producer = KafkaProducer(KafkaConfig(bootstrap=mock_brokers, timeout_s=3))
    await producer.send("topic", b"key", b"before")
    _break(producer._producer)
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(MarqueeError):
                await producer.send("topic", b"key", b"after")
                break
            await asyncio.sleep(0.05)
    await producer.close()


async def test_topics_are_not_waited_for_without_end() -> None:
    config = KafkaConfig(bootstrap=f"127.0.0.1:{free_port()}")
    with pytest.raises(RuntimeError, match="stayed away"):
        await ensure_topics(config, [Topic("topic", 1)], timeout_s=0.1)


class Brokers:
    """Brokers that are away when they are first asked, and have one topic."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def admin(self, config: KafkaConfig) -> "Brokers":
        self.asked.append(config.bootstrap)
        return self

    def list_topics(self, timeout: float) -> Any:
        if len(self.asked) == 1:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={"there": None})


async def test_brokers_that_come_later_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers()
    monkeypatch.setattr("mesh.kafka.topics._admin", brokers.admin)
    assert await topic_names(KafkaConfig(bootstrap="kafka:9092")) == {"there"}
    assert brokers.asked == ["kafka:9092"] * 2


def _break(producer: Any) -> None:
    """Raises a fatal error in librdkafka: its own function for tests, on the handle in the object."""
    (path,) = Path(confluent_kafka.__path__[0]).parent.glob("confluent_kafka.libs/librdkafka*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_test_fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    handle = ctypes.c_void_p.from_address(id(producer) + object.__basicsize__)
    assert library.rd_kafka_test_fatal_error(handle, OUT_OF_ORDER_SEQUENCE, b"planted") == 0
