"""The worker and the relay inside the test's process, on a topic and a database of their own."""

import asyncio
import contextlib
import dataclasses
import itertools
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from confluent_kafka.admin import AdminClient

import rating_svc
from local.servers.services import stores
from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import migrations, postgres, redisdb
from mesh.kafka import BatchConsumer, BatchReader, KafkaConfig, KafkaProducer, Topic, ensure_topics
from mesh.kafka.retention import Retention
from mesh.kafka.topics import bounds_of
from mesh.pipe import Pipe
from mesh.postgres import PostgresConfig
from mesh.redisdb import RedisConfig
from mesh.tasks import end
from rating_svc import generations, submissions, topics
from rating_svc.cache import PendingWrites, Settling
from rating_svc.config import PendingConfig, SubmissionLogConfig, WorkerConfig
from rating_svc.registry import Registry, family
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Submission
from rating_svc.worker import BatchOutcome, SubmissionHandler, make_reader
from tests.support.waiting import eventually

MIGRATIONS = Path(rating_svc.__file__).parent / "migrations"
ROLE = "rating_svc"

Worker = BatchReader[Submission | None, BatchOutcome]

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
        self.log_config = SubmissionLogConfig(partitions=partitions)
        self.retention = Retention()
        self.postgres_config = PostgresConfig(primary=dsn)
        self._redis_url = stores(stack, ROLE)["MARQUEE_REDIS_URL"]
        self.admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap, "log_level": 0})
        self._exit = contextlib.AsyncExitStack()

    async def open(self) -> None:
        await migrations.migrate(self.dsn, MIGRATIONS)
        await ensure_topics(self.kafka, [Topic(topics.DEAD_LETTERS, 1)])
        self.producer = KafkaProducer(self.kafka)
        self._exit.push_async_callback(self.producer.close)
        self.postgres = await postgres.connect(self.postgres_config)
        self._exit.push_async_callback(self.postgres.close)
        await self.register()
        self.redis = redisdb.connect(RedisConfig(url=self._redis_url, timeout_s=5))
        self._exit.push_async_callback(self.redis.aclose)
        self.pending = PendingWrites(Pipe(self.redis, 0.1), PendingConfig())

    async def register(self) -> None:
        """As every process of rating_svc does when it starts."""
        registry = await generations.prepare(
            self.log_config, self.kafka, self.retention, self.postgres, self.topic
        )
        self.log = SubmissionLog(self.producer, self.postgres, registry)
        self.registry = registry

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

    def worker(self, group: str = "workers", reader: str = "", **config: Any) -> Worker:
        """A worker that is not running yet; one of another group reads all by itself.

        Args:
            reader: whose offsets it goes by, if not its group's.
        """
        settings = dataclasses.replace(WorkerConfig(settle_s=0), **config)
        self.settling = Settling(self.pending, settings.settle_s)
        return make_reader(
            lambda: BatchConsumer(self.kafka, self._group(group), [family(self.topic)]),
            self.kafka,
            self.producer,
            self.postgres,
            SubmissionHandler(Registry(), self.settling, self.retention, reader or group),
            settings,
            reader or group,
        )

    def _group(self, name: str) -> str:
        return f"{self.topic} {name}"

    async def drained(self, group: str = "workers", timeout_s: float = 30.0) -> None:
        """Waits until a group has processed all that is in the log now."""
        lives = [life for life in self.registry.lives if life.partition is None]
        every = [(life.topic, number) for life in lives for number in range(life.partitions)]
        ids = {life.topic: life.topic_id for life in lives}
        ends = {
            (ids[topic], p): high for (topic, p), (_, high) in (await bounds_of(self.kafka, every)).items()
        }

        async def done() -> bool:
            rows = await self.fetch(
                "SELECT topic_id, partition, next_offset FROM kafka_offsets WHERE reader = $1", group
            )
            at = {(row[0], row[1]): row[2] for row in rows}
            return all(at.get(place, 0) >= end for place, end in ends.items())

        await eventually(done, timeout_s)

    @contextlib.asynccontextmanager
    async def working(self, worker: Worker | None = None) -> AsyncIterator[Worker]:
        """Runs a worker meanwhile."""
        worker = worker or self.worker()
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await end([task])

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Asks the database, past the code under test."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def run(self, statements: str) -> None:
        """Runs statements, past the code under test."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(statements)
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
        rows = await self.fetch("SELECT movie_id, old_score, new_score FROM outbox ORDER BY number")
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
async def database(stack: Stack) -> AsyncIterator[str]:
    """The name of a database of rating_svc's own, without a schema, and its end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
        try:
            yield name
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def rig(stack: Stack, partitions: int = 4) -> AsyncIterator[Rig]:
    """A rig, and its database's end."""
    async with database(stack) as name:
        made = Rig(stack, stack.dsn(ROLE, database=name), f"test.{name}", partitions)
        try:
            await made.open()
            yield made
        finally:
            await made.close()
