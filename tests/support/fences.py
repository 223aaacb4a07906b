"""Waits until what stands in a topic has gone through a whole mesh."""

from local.stack.layout import Stack
from mesh import postgres
from mesh.kafka import KafkaConfig
from mesh.postgres import PostgresConfig
from ranking_svc.topics import AGGREGATES_GROUP, RATINGS_CHANGED, Offsets
from rating_svc import topics
from rating_svc.config import WORKERS


async def stored(stack: Stack, timeout_s: float) -> None:
    """Waits until the workers have stored all submissions that the log holds now.

    Raises:
        MarqueeError: UNAVAILABLE, they have not within `timeout_s`, or a store is away.
    """
    await _fence(stack, "rating_svc", topics.SUBMITTED, WORKERS, timeout_s)


async def counted(stack: Stack, timeout_s: float) -> None:
    """Waits until the consumers of rankings have counted all changes that the topic holds now.

    Raises:
        MarqueeError: UNAVAILABLE, they have not within `timeout_s`, or a store is away.
    """
    await _fence(stack, "ranking_svc", RATINGS_CHANGED, AGGREGATES_GROUP, timeout_s)


async def _fence(stack: Stack, role: str, topic: str, reader: str, timeout_s: float) -> None:
    pg = await postgres.connect(PostgresConfig(primary=stack.dsn(role)))
    try:
        kafka = KafkaConfig(bootstrap=stack.kafka_bootstrap)
        await Offsets(kafka, pg, topic, reader).fence(timeout_s)
    finally:
        await pg.close()
