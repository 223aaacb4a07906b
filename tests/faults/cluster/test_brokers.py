"""Three brokers, each of which is lost or frozen in turn: services still get answers from Kafka."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from local.stack.layout import Home, Shape, Stack
from mesh.kafka import BatchConsumer, KafkaConfig, KafkaProducer, Topic, ensure_topics
from mesh.kafka.topics import identify
from tests.support.parts import answers, holder, hung, pid_of, unattended
from tests.support.repeating import repeatedly
from tests.support.stacks import running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

TOPIC = "test.brokers"
PARTITIONS = 6
# Less than the minute for which a client by itself waits for a broker that hangs, and the five until it asks
# again who is there.
PATIENCE_S = 40.0


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Stack]:
    shape = Shape.CLUSTER
    with running(Home(tmp_path), ["kafka"], {"kafka": 3}, shape=shape) as stack:
        yield stack


@contextlib.contextmanager
def lost(stack: Stack, name: str) -> Iterator[None]:
    with unattended(stack):
        os.kill(pid_of(stack, name), signal.SIGKILL)
        yield


@contextlib.contextmanager
def frozen(stack: Stack, name: str) -> Iterator[None]:
    with hung(pid_of(stack, name)):
        yield


async def test_who_asks_for_a_lost_controller_waits_without_spinning(brokers: Stack) -> None:
    """Brokers need the processor themselves, to elect another."""
    config = KafkaConfig(bootstrap=brokers.kafka_bootstrap, replication=3)
    await ensure_topics(config, [Topic(TOPIC, PARTITIONS)])
    known = await identify(config, TOPIC)

    async def identified() -> bool:
        try:
            return await identify(config, TOPIC) == known
        except KafkaException:
            return False

    async def unanswered() -> bool:
        return not await identified()

    name = await holder(brokers, "kafka", "controller")
    with lost(brokers, name):
        began, used = time.monotonic(), time.process_time()
        await eventually(unanswered, PATIENCE_S, 0.05, what=f"nobody in the place of {name}")
        await eventually(identified, PATIENCE_S, 0.2, what=f"the topic's identity without {name}")
        took, used = time.monotonic() - began, time.process_time() - used
    print(f"{used:.2f} s of processor time in {took:.1f} s")
    assert used < 0.1 * took + 0.2


@pytest.mark.parametrize("away", [lost, frozen])
async def test_any_broker_may_be_away(
    brokers: Stack, away: Callable[[Stack, str], contextlib.AbstractContextManager[None]]
) -> None:
    """Topics are known without it, and what is written is read: each is controller, coordinator or leader."""
    config = KafkaConfig(bootstrap=brokers.kafka_bootstrap, replication=3, timeout_s=4.5, session_timeout_s=6)
    await ensure_topics(config, [Topic(TOPIC, PARTITIONS)])
    producer, consumer = KafkaProducer(config), BatchConsumer(config, "test.brokers", [TOPIC])
    known = await identify(config, TOPIC)
    read: set[tuple[int, bytes]] = set()

    async def reading() -> None:
        read.update((record.partition, record.value) for record in await consumer.next_batch(100, 1.0))
        await consumer.commit()

    async def identified() -> bool:
        try:
            return await identify(config, TOPIC) == known
        except KafkaException:
            return False

    async def written(what: bytes) -> bool:
        """To each partition, whoever led it."""
        sent = (producer.send(TOPIC, b"", what, partition=number) for number in range(PARTITIONS))
        ends = await asyncio.gather(*sent, return_exceptions=True)
        return not any(isinstance(end, BaseException) for end in ends)

    try:
        async with repeatedly(reading, pause_s=0):
            for name in brokers.names("kafka"):
                what = name.encode()
                every = {(number, what) for number in range(PARTITIONS)}
                checks = {
                    "writes": partial(written, what),
                    "the topic's identity": identified,
                    "reads": partial(every.issubset, read),
                }
                with away(brokers, name):
                    for told, check in checks.items():
                        began = time.monotonic()
                        await eventually(check, PATIENCE_S, 0.2, what=f"{told} without {name}")
                        print(f"{away.__name__} {name}: {told} after {time.monotonic() - began:.1f} s more")
                await eventually(lambda: answers(brokers), 60)
    finally:
        await consumer.close()
        await producer.close()
