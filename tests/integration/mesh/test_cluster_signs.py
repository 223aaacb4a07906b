"""What the chassis tells of the stores that a service stands on."""

import asyncio
import uuid
from collections.abc import Awaitable

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client import REGISTRY

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import postgres, transactions
from mesh.config import load
from mesh.kafka import KafkaConfig, Replicas
from mesh.postgres import PostgresConfig
from mesh.tasks import end
from tests.support.waiting import eventually


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"marquee_{name}", labels)


def begun(run: Awaitable[None]) -> "asyncio.Task[None]":
    return asyncio.ensure_future(run)  # type: ignore[arg-type]


async def test_an_open_transaction_of_the_service_is_told_and_an_idle_session_is_not(stack: Stack) -> None:
    pg = await postgres.connect(load(PostgresConfig, stores(stack, "rating_svc")))
    watching = begun(transactions.watch(pg, interval_s=0.05))
    async with pg.write() as connection:
        await connection.execute("SELECT 1")
        await eventually(lambda: (told("postgres_longest_transaction_seconds", server="primary") or 0) > 1)
    await eventually(lambda: (told("postgres_longest_transaction_seconds", server="primary") or 0) < 1)
    assert (told("postgres_timeline", server="primary") or 0) >= 1
    await end([watching])
    await pg.close()


async def test_partitions_and_brokers_are_counted(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})
    watching = begun(Replicas(KafkaConfig(bootstrap=stack.kafka_bootstrap), interval_s=0.05).run())
    # A topic of a test before this one may just be being made.
    names = ("kafka_brokers", "kafka_under_replicated_partitions", "kafka_offline_partitions")
    await eventually(lambda: tuple(map(told, names)) == (1, 0, 0))
    topic = f"test.{uuid.uuid4().hex}"
    admin.create_topics([NewTopic(topic, 1)])[topic].result()
    await eventually(lambda: told("kafka_offline_partitions") == 0)
    await end([watching])
