"""The worker and the relay inside the test's process, on a topic and a database of their own."""

import asyncio
import contextlib
import dataclasses
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from confluent_kafka import Consumer, TopicPartition

import rating_svc
from mesh import migrations, postgres, redisdb
from mesh.kafka import BatchConsumer, KafkaConfig, KafkaProducer, Topic, ensure_topics
from mesh.local.provision import SUPERUSER
from mesh.local.services import stores
from mesh.local.stack import Stack
from mesh.postgres import PostgresConfig
from mesh.redisdb import RedisConfig
from rating_svc import submissions, topics
from rating_svc.cache import PendingWrites, Settling
from rating_svc.config import LogConfig, PendingConfig, WorkerConfig
from rating_svc.epoch import EpochGuard
from rating_svc.pipe import Pipe
from rating_svc.submissions import Submission
from rating_svc.worker import Worker
from tests.support.waiting import eventually

MIGRATIONS = Path(rating_svc.__file__).parent / "migrations"
ROLE = "rating_svc"

_clock = itertools.count(1_700_000_000_000_000)


def submission(user: str, movie: int, score: int | None, request_id: uuid.UUID | None = None) -> Submission:
    """A submission, each later than the one made before."""
    return Submission(user, movie, score, request_id or uuid.uuid4(), next(_clock))


class Rig:
    """A log, a database, and workers between them."""

    def __init__(self, stack: Stack, dsn: str, topic: str, partitions: int) -> None:
        self.dsn = dsn
        self.topic = topic
        self.partitions = partitions
        self.kafka = KafkaConfig(bootstrap=stack.kafka_bootstrap, session_timeout_s=6)
        self.log = LogConfig(partitions=partitions)
        self.postgres_config = PostgresConfig(primary=dsn)
        self._redis_url = stores(stack, ROLE)["MARQUEE_REDIS_URL"]
        self._exit = contextlib.AsyncExitStack()

    async def open(self) -> None:
        await migrations.migrate(self.dsn, MIGRATIONS)
        await ensure_topics(self.kafka, [Topic(self.topic, self.partitions), Topic(topics.DEAD_LETTERS, 1)])
        self.producer = KafkaProducer(self.kafka)
        self._exit.push_async_callback(self.producer.close)
        self.postgres = await postgres.connect(self.postgres_config)
        self._exit.push_async_callback(self.postgres.close)
        self.redis = redisdb.connect(RedisConfig(url=self._redis_url))
        self._exit.push_async_callback(self.redis.aclose)
        self.pending = PendingWrites(Pipe(self.redis, 0.1), PendingConfig())

    async def close(self) -> None:
        await self._exit.aclose()

    async def submit(self, wishes: Iterable[Submission], headers: dict[str, str] | None = None) -> None:
        """Writes submissions into the log, in their order."""
        await self.write([(s.user.encode(), submissions.encode(s)) for s in wishes], headers)

    async def write(
        self, messages: Sequence[tuple[bytes, bytes]], headers: dict[str, str] | None = None
    ) -> None:
        """Writes messages into the log, in their order."""
        for start in range(0, len(messages), 1000):
            portion = messages[start : start + 1000]
            await asyncio.gather(
                *(self.producer.send(self.topic, key, value, headers) for key, value in portion)
            )

    def worker(
        self,
        kind: type[Worker] = Worker,
        group: str = "workers",
        log: LogConfig | None = None,
        **config: Any,
    ) -> Worker:
        """A worker that is not running yet."""
        settings = dataclasses.replace(WorkerConfig(settle_s=0), **config)
        log = log or self.log
        return kind(
            lambda: BatchConsumer(self.kafka, self._group(group, log.epoch), [self.topic]),
            self.producer,
            self.postgres,
            Settling(self.pending, settings.settle_s),
            EpochGuard(self.kafka, self.postgres, log, self.topic),
            log,
            settings,
        )

    def _group(self, name: str, epoch: int = 1) -> str:
        return f"{self.topic} {name} {epoch}"

    async def drained(self, group: str = "workers", timeout_s: float = 30.0) -> None:
        """Waits until a group has committed all that is in the topic."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": self._group(group), "log_level": 0}
        )
        partitions = [TopicPartition(self.topic, partition) for partition in range(self.partitions)]

        def done() -> bool:
            for at in consumer.committed(partitions, 5):
                _, high = consumer.get_watermark_offsets(at, timeout=5)
                if max(at.offset, 0) < high:
                    return False
            return True

        try:
            await eventually(lambda: asyncio.to_thread(done), timeout_s)
        finally:
            await asyncio.to_thread(consumer.close)

    @contextlib.asynccontextmanager
    async def working(self, worker: Worker | None = None) -> AsyncIterator[Worker]:
        """Runs a worker meanwhile."""
        worker = worker or self.worker()
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Asks the database, past the code under test."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def scores(self) -> dict[tuple[str, int], int]:
        """All ratings."""
        rows = await self.fetch("SELECT user_id, movie_id, score FROM ratings WHERE score IS NOT NULL")
        return {(row["user_id"], row["movie_id"]): row["score"] for row in rows}

    async def rows(self) -> list[tuple[Any, ...]]:
        """The whole table, for a comparison."""
        return [tuple(row) for row in await self.fetch("SELECT * FROM ratings ORDER BY user_id, movie_id")]

    async def events(self) -> list[tuple[int, int | None, int | None]]:
        """What waits in the outbox: movie, old and new score."""
        rows = await self.fetch("SELECT movie_id, old_score, new_score FROM outbox ORDER BY event_id")
        return [tuple(row) for row in rows]

    async def event_count(self) -> int:
        return len(await self.events())

    async def aggregates(self) -> dict[tuple[int, int], int]:
        """What a reader of the events would count: votes by movie and score."""
        counts: dict[tuple[int, int], int] = {}
        for movie, old, new in await self.events():
            if old is not None:
                counts[movie, old] = counts.get((movie, old), 0) - 1
            if new is not None:
                counts[movie, new] = counts.get((movie, new), 0) + 1
        return {key: count for key, count in counts.items() if count}

    async def recount(self) -> dict[tuple[int, int], int]:
        """What the ratings themselves come to: votes by movie and score."""
        counts: dict[tuple[int, int], int] = {}
        for (_, movie), score in (await self.scores()).items():
            counts[movie, score] = counts.get((movie, score), 0) + 1
        return counts

    async def stored(self, expected: dict[tuple[str, int], int], timeout_s: float = 30.0) -> None:
        """Waits until the ratings are these."""

        async def same() -> bool:
            return await self.scores() == expected

        await eventually(same, timeout_s)


@contextlib.asynccontextmanager
async def rig(
    stack: Stack, partitions: int = 4, before: Callable[[str], Awaitable[None]] | None = None
) -> AsyncIterator[Rig]:
    """A rig, and its database's end. `before` gets the superuser's DSN before the schema is made."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
        if before is not None:
            await before(stack.dsn(SUPERUSER, database=name))
        made = Rig(stack, stack.dsn(ROLE, database=name), f"test.{name}", partitions)
        try:
            await made.open()
            yield made
        finally:
            await made.close()
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
