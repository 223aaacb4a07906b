"""The Kafka chassis on a real broker: nothing that was read and not committed is ever skipped."""

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from local.stack.layout import Stack
from mesh.kafka import BatchConsumer, KafkaConfig, KafkaProducer, Topic, ensure_topics, identify
from tests.support.waiting import eventually

PARTITIONS = 4
MESSAGES = 40

Seen = set[tuple[int, int]]


@pytest.fixture
def config(stack: Stack) -> KafkaConfig:
    return KafkaConfig(bootstrap=stack.kafka_bootstrap)


@pytest.fixture
async def topic(config: KafkaConfig) -> str:
    """A topic of its own, with messages in each of its partitions."""
    name = f"test.{uuid.uuid4()}"
    await ensure_topics(config, [Topic(name, PARTITIONS)])
    producer = KafkaProducer(config)
    positions = await asyncio.gather(
        *(producer.send(name, b"key %d" % i, b"%d" % i) for i in range(MESSAGES))
    )
    await producer.close()
    assert {position.partition for position in positions} == set(range(PARTITIONS))
    return name


@contextlib.asynccontextmanager
async def reading(config: KafkaConfig, topic: str) -> AsyncIterator[BatchConsumer]:
    consumer = BatchConsumer(config, f"group of {topic}", [topic])
    try:
        yield consumer
    finally:
        await consumer.close()


def gathering(config: KafkaConfig) -> KafkaConfig:
    """Of a consumer whose batches have time to grow: what it is given comes by several fetches."""
    return dataclasses.replace(config, gather_ms=500)


async def read(consumer: BatchConsumer, count: int) -> Seen:
    """Reads and commits until `count` different messages have come."""
    seen: Seen = set()
    async with asyncio.timeout(40):
        while len(seen) < count:
            seen |= {(record.partition, record.offset) for record in await consumer.next_batch(1000, 0.2)}
            await consumer.commit()
    return seen


async def read_of_each(consumer: BatchConsumer) -> Seen:
    """A batch that has messages of every partition, however many of them a fetch brings."""
    held: Seen = set()
    async with asyncio.timeout(40):
        while len({partition for partition, _ in held}) < PARTITIONS:
            held = {(record.partition, record.offset) for record in await consumer.next_batch(1000, 1)}
    return held


async def test_what_was_not_committed_is_read_again_by_the_next_consumer(
    config: KafkaConfig, topic: str
) -> None:
    async with reading(config, topic) as first:
        batch = await first.next_batch(10, 20)
        await first.commit()
        committed = {(record.partition, record.offset) for record in batch}
        await first.next_batch(10, 20)
    async with reading(config, topic) as second:
        rest = await read(second, MESSAGES - len(batch))
    assert not rest & committed


async def test_a_batch_that_was_not_committed_is_read_again(config: KafkaConfig, topic: str) -> None:
    async with reading(config, topic) as consumer:
        batch = await consumer.next_batch(10, 20)
        left = {(record.partition, record.offset) for record in batch}
        assert left <= await read(consumer, MESSAGES)


async def test_a_batch_that_outlives_its_partitions_is_lost_to_nobody(
    config: KafkaConfig, topic: str
) -> None:
    """The database is away while a second consumer joins: part of the batch goes to it, part stays."""
    async with reading(gathering(config), topic) as first, reading(config, topic) as second:
        held = await read_of_each(first)
        async with asyncio.timeout(40):
            joining = asyncio.create_task(second.next_batch(1000, 25))
            while await first.wait(0.2):
                pass
        others = {(record.partition, record.offset) for record in await joining}
        await second.commit()
        seen = others

        async def rest(consumer: BatchConsumer) -> None:
            while len(seen) < MESSAGES:
                seen.update((r.partition, r.offset) for r in await consumer.next_batch(1000, 0.2))
                await consumer.commit()

        async with asyncio.timeout(40):
            await asyncio.gather(rest(first), rest(second))
    assert held <= seen


async def test_a_consumer_leaves_even_if_it_is_cancelled_while_it_does(
    config: KafkaConfig, topic: str
) -> None:
    """A drain cancels what does not end at once; the group must not wait for a session to time out."""
    patient = dataclasses.replace(config, session_timeout_s=45)
    first = BatchConsumer(patient, f"group of {topic}", [topic])
    await read(first, MESSAGES)
    reading_on = asyncio.create_task(first.next_batch(1000, 2))
    await asyncio.sleep(0)
    closing = asyncio.create_task(first.close())
    await asyncio.sleep(0)
    for task in (closing, reading_on):
        task.cancel()
    await asyncio.gather(closing, reading_on, return_exceptions=True)
    producer = KafkaProducer(config)
    for _ in range(PARTITIONS):
        await producer.send(topic, uuid.uuid4().bytes, b"later")
    await producer.close()
    async with reading(patient, topic) as second:
        # `read` gives up after 40 s, before the session of the first would have timed out.
        await read(second, PARTITIONS)


async def test_waiting_keeps_the_batch_and_later_messages_come_after_it(
    config: KafkaConfig, topic: str
) -> None:
    async with reading(config, topic) as consumer:
        batch = await consumer.next_batch(10, 20)
        assert await consumer.wait(0.5)
        await consumer.commit()
        rest = await read(consumer, MESSAGES - len(batch))
    assert not rest & {(record.partition, record.offset) for record in batch}


async def test_a_topic_that_was_made_anew_is_another_topic(config: KafkaConfig, topic: str) -> None:
    before = await identify(config, topic)
    assert before.partitions == PARTITIONS
    assert await identify(config, topic) == before
    admin = AdminClient({"bootstrap.servers": config.bootstrap})
    await asyncio.wrap_future(admin.delete_topics([topic])[topic])
    await eventually(lambda: topic not in admin.list_topics(timeout=30).topics)
    await ensure_topics(config, [Topic(topic, PARTITIONS)])
    await eventually(lambda: topic in admin.list_topics(timeout=30).topics)
    assert (await identify(config, topic)).id != before.id


async def test_partitions_that_went_away_during_a_wait_and_came_back_are_read(
    config: KafkaConfig, topic: str
) -> None:
    async with reading(gathering(config), topic) as first:
        async with asyncio.timeout(90), reading(config, topic) as second:
            # Else it would wait for partitions to go of which it holds nothing.
            await read_of_each(first)
            joining = asyncio.create_task(second.next_batch(1000, 25))
            while await first.wait(0.2):
                pass
            await joining
        # The second has left without having committed anything: all is the first's again.
        assert len(await read(first, MESSAGES)) == MESSAGES


async def test_a_topic_can_be_used_once_it_is_ensured(config: KafkaConfig) -> None:
    consumer = Consumer({"bootstrap.servers": config.bootstrap, "group.id": "nobody", "log_level": 0})
    try:
        for _ in range(20):
            name = f"test.{uuid.uuid4()}"
            await ensure_topics(config, [Topic(name, PARTITIONS)])
            for partition in range(PARTITIONS):
                at = TopicPartition(name, partition)
                assert await asyncio.to_thread(consumer.get_watermark_offsets, at, timeout=5) == (0, 0)
    finally:
        consumer.close()
