"""How far a reader is behind, while it reads and while nothing can be stored."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
from prometheus_client import REGISTRY

from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import postgres
from mesh.kafka import Backlog, KafkaConfig, KafkaProducer, Offsets, Place, Topic, ensure_topics, identify
from mesh.kafka.fenced import FencedProducer
from mesh.kafka.offsets import TABLE, Move
from mesh.kafka.topics import bounds_of
from mesh.postgres import PostgresConfig
from mesh.tasks import end
from tests.support.proxy import Proxy, proxied
from tests.support.waiting import eventually

READER = "keeper"


@dataclass
class Log:
    """A topic of one partition, and how far it is stored, in a database behind a way that can be blocked."""

    topic: str
    topic_id: str
    kafka: KafkaConfig
    producer: KafkaProducer
    postgres: postgres.Postgres
    way: Proxy

    async def send(self, count: int) -> None:
        for number in range(count):
            await self.producer.send(self.topic, b"key", str(number).encode())

    async def store(self, first: int, end: int) -> None:
        """As a reader does it, with what it read in the same transaction."""
        async with self.postgres.write() as connection:
            offsets = Offsets(READER)
            await offsets.begin(connection, self.topic, self.topic_id, {0: 0}, None)
            await offsets.advance(connection, [Move(Place(self.topic_id, 0), first, end, 1)])

    def messages(self) -> float | None:
        return self._sample("messages")

    def seconds(self) -> float | None:
        return self._sample("seconds")

    def _sample(self, unit: str) -> float | None:
        labels = {"reader": READER, "topic": self.topic, "partition": "0"}
        return REGISTRY.get_sample_value(f"marquee_kafka_consumer_lag_{unit}", labels)


@pytest.fixture
async def log(stack: Stack) -> AsyncIterator[Log]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    await admin.execute(f"CREATE DATABASE {name} OWNER rating_svc")
    connection = await asyncpg.connect(stack.dsn("rating_svc", database=name))
    await connection.execute(TABLE)
    await connection.close()
    kafka = KafkaConfig(bootstrap=stack.kafka_bootstrap)
    await ensure_topics(kafka, [Topic(name, 1)])
    async with proxied(stack.port("postgres", "sql")) as way:
        dsn = stack.dsn_at(f"127.0.0.1:{way.port}", "rating_svc", name)
        pg = await postgres.connect(PostgresConfig(primary=dsn, timeout_s=2))
        producer = KafkaProducer(kafka)
        measuring = asyncio.create_task(Backlog(kafka, pg, READER, interval_s=0.1).run())
        yield Log(name, (await identify(kafka, name)).id, kafka, producer, pg, way)
        await end([measuring])
        await producer.close()
        await pg.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def test_the_lag_grows_while_the_database_stands_still(log: Log) -> None:
    await log.send(5)
    await log.store(0, 2)
    await eventually(lambda: log.messages() == 3)
    await eventually(lambda: (log.seconds() or 0) > 0)

    log.way.hold()
    before = log.seconds() or 0
    await log.send(4)
    await eventually(lambda: log.messages() == 7)
    await eventually(lambda: (log.seconds() or 0) > before + 1)

    log.way.let_go()

    async def stored() -> bool:
        try:
            await log.store(2, 9)
        except Exception:  # connections that were held are given up one after the other
            return False
        return True

    await eventually(stored)
    await eventually(lambda: (log.messages(), log.seconds()) == (0, 0))


async def test_a_message_is_as_old_as_the_log_says_whoever_asks_first(log: Log) -> None:
    before = asyncio.get_running_loop().time()
    await log.send(1)
    await asyncio.sleep(1.5)
    await log.store(0, 0)
    await eventually(lambda: log.messages() == 1)
    await eventually(lambda: (log.seconds() or 0) >= 1.5)
    assert (log.seconds() or 0) <= asyncio.get_running_loop().time() - before + 0.5


async def test_marks_of_transactions_are_no_messages(log: Log) -> None:
    sender = await FencedProducer.begin(log.kafka, log.topic)
    await sender.send_all(log.topic, [(b"key", b"value")])
    await sender.close()

    async def marked() -> bool:
        return (await bounds_of(log.kafka, [(log.topic, 0)]))[log.topic, 0] == (0, 2)

    await eventually(marked)
    await log.store(0, 1)
    await eventually(lambda: (log.messages(), log.seconds()) == (0, 0))
    await log.send(3)
    await eventually(lambda: (log.messages() or 0) >= 3)


async def test_a_topic_that_is_gone_is_not_told_of(log: Log) -> None:
    await log.send(1)
    await log.store(0, 0)
    await eventually(lambda: log.messages() == 1)
    async with log.postgres.write() as connection:
        await connection.execute("DELETE FROM kafka_offsets")
    await eventually(lambda: log.messages() is None)
    assert log.seconds() is None
