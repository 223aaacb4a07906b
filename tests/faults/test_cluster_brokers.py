"""Three brokers, of which each is lost in turn: what services ask of Kafka is answered all the same."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from local.stack.layout import Home, Shape, Stack
from mesh.kafka import KafkaConfig, KafkaProducer, Topic, ensure_topics
from mesh.kafka.topics import identify
from tests.support.parts import is_ready, pid_of, unattended
from tests.support.stacks import running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

TOPIC = "test.brokers"
# Far less than the five minutes after which a client asks by itself who is there.
PATIENCE_S = 60.0


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Stack]:
    shape = Shape.CLUSTER
    with running(Home(tmp_path), ["kafka"], {"kafka": 3}, shape=shape) as stack:
        yield stack


async def test_any_broker_may_be_lost(brokers: Stack) -> None:
    config = KafkaConfig(bootstrap=brokers.kafka_bootstrap, replication=3, timeout_s=4.5)
    await ensure_topics(config, [Topic(TOPIC, 6)])
    producer = KafkaProducer(config)
    known = await identify(config, TOPIC)

    async def identified() -> bool:
        try:
            return await identify(config, TOPIC) == known
        except KafkaException:
            return False

    async def written() -> bool:
        """To each partition, whoever led it."""
        sent = (producer.send(TOPIC, b"", b"x", partition=number) for number in range(6))
        ends = await asyncio.gather(*sent, return_exceptions=True)
        return not any(isinstance(end, BaseException) for end in ends)

    try:
        for name in brokers.names("kafka"):
            with unattended(brokers):
                os.kill(pid_of(brokers, name), signal.SIGKILL)
                await eventually(written, PATIENCE_S, 0.2, what=f"writes without {name}")
                await eventually(identified, PATIENCE_S, 0.2, what=f"the topic's identity without {name}")
            await eventually(lambda name=name: is_ready(brokers, name), 60)
    finally:
        await producer.close()
