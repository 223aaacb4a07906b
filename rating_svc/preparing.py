"""What every process does before its work: schemas, topics, and the lives of the log."""

import asyncio
import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from mesh import kafka, migrations
from mesh.config import load
from mesh.kafka import KafkaConfig
from mesh.kafka.retention import Retention
from mesh.postgres import PostgresConfig
from mesh.program import Parts, Process
from rating_svc import generations, topics
from rating_svc.config import SubmissionLogConfig
from rating_svc.registry import Registry
from rating_svc.shards import Shards, configs

log = logging.getLogger(__name__)

_OLD_EPOCH: Final = "MARQUEE_RATING_LOG_EPOCH"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_PATIENCE_S: Final = 5.0
_AGAIN_S: Final = 5.0


async def prepare() -> None:
    """Brings all schemas up to date and creates the topics that are missing.

    Raises:
        RuntimeError: a database or the brokers stay away, or are not what they must be.
    """
    every = configs()
    await asyncio.gather(_topics(), *(migrations.migrate(c.own_session, _MIGRATIONS) for c in every))


async def open_shards(process: Process) -> Shards:
    """The databases, with their schemas, and the topics. One of several may be away: its users wait.

    Raises:
        RuntimeError: the only database or the brokers stay away, or are not what they must be.
    """
    every = configs()
    if len(every) == 1:
        await prepare()
    else:
        await _topics()
        for config in await _migrate(every):
            name = f"schema of {config.name or 'the first shard'}"
            process.server.background(name, partial(_late, config))
    shards = Shards([await process.postgres(config) for config in every])
    await shards.look()
    process.server.background("who has which users", shards.follow)
    return shards


async def connect_shards(parts: Parts) -> Shards:
    """The databases, for a command."""
    shards = Shards([await parts.postgres(config) for config in configs()])
    await shards.look()
    return shards


async def register(shards: Shards) -> Registry:
    """Sees that the log of submissions has its topics, and that each has an epoch.

    Raises:
        RuntimeError: the log would not fit the slots that users are divided into.
    """
    config, total = load(SubmissionLogConfig), shards.division.total
    if config.partitions % total:
        raise RuntimeError(
            f"MARQUEE_RATING_PARTITIONS can't be {config.partitions}: users are divided into {total} slots, "
            "and it must be a multiple of that"
        )
    every = shards if shards.several else None
    return await generations.prepare(config, load(KafkaConfig), load(Retention), shards.first, every=every)


async def _topics() -> None:
    kafka_config = load(KafkaConfig)
    if os.environ.get(_OLD_EPOCH):
        log.warning("%s is ignored: epochs come from the log itself (docs/decisions/0012)", _OLD_EPOCH)
    declared = topics.declared(load(SubmissionLogConfig), kafka_config, load(Retention))
    await kafka.ensure_topics(kafka_config, declared)


async def _migrate(every: Sequence[PostgresConfig]) -> list[PostgresConfig]:
    """Brings schemas up to date; returns those of databases that are away."""
    tasks = [migrations.migrate(c.own_session, _MIGRATIONS, patience_s=_PATIENCE_S) for c in every]
    late = []
    for config, ended in zip(every, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
        if isinstance(ended, migrations.DatabaseAway):
            log.warning("%s: %s. The others go on without it", config.name or "the first shard", ended)
            late.append(config)
        elif isinstance(ended, BaseException):
            raise ended
    return late


async def _late(config: PostgresConfig) -> None:
    while True:
        try:
            await migrations.migrate(config.own_session, _MIGRATIONS)
            return
        except migrations.DatabaseAway:
            await asyncio.sleep(_AGAIN_S)
