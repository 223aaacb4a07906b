"""The topics that the log of submissions consists of: found, made where there is none, registered."""

import asyncio
from typing import Final

from mesh.kafka import KafkaConfig, ensure_topics, identify_all, topic_names
from mesh.kafka.retention import Retention
from mesh.postgres import Postgres
from rating_svc import lives, topics
from rating_svc.config import SubmissionLogConfig
from rating_svc.registry import Registry, generation, is_generation

_PATIENCE_S: Final = 30.0


async def prepare(
    log: SubmissionLogConfig,
    kafka: KafkaConfig,
    retention: Retention,
    postgres: Postgres,
    base: str = topics.SUBMITTED,
    every: lives.Rows | None = None,
) -> Registry:
    """Sees that the log has a topic and that each of its topics has an epoch; returns all of them.

    Args:
        postgres: the database that numbers lives.
        every: all databases, where there are several: with what they know, the first may be away.

    Raises:
        RuntimeError: the brokers stayed away, or a topic can't be what it must be.
        KafkaException: they refused.
        MarqueeError: UNAVAILABLE, the database is away.
    """
    found = {name for name in await topic_names(kafka) if is_generation(base, name)} or {base}
    ordered = sorted(found, key=generation)
    await ensure_topics(
        kafka, [topics.generation_of_log(name, log.partitions, kafka, retention) for name in ordered]
    )
    identities = await identify_all(kafka, ordered, _PATIENCE_S)
    if every is not None:
        known = await lives.known(every)
        ids = {life.topic_id for life in known}
        if all(identities[name].id in ids for name in ordered):
            return Registry(known)
    async with asyncio.timeout(10), postgres.write() as connection:
        for name in ordered:
            known, _ = await lives.meet(connection, name, identities[name])
    return Registry(known)
