"""What tests of rankings share: the real stores, a topic of their own, and changes to put into it."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import redis.asyncio as redis
from marquee.ratings.v1 import events_pb2

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import kafka, migrations, names, postgres, redisdb
from mesh.config import load
from mesh.tasks import end
from ranking_svc.__main__ import MIGRATIONS
from ranking_svc.config import ChartConfig, ConsumerConfig, FormulaConfig
from ranking_svc.consumer import Aggregator, aggregator
from ranking_svc.feed import Feed
from ranking_svc.model import Change, Histogram
from ranking_svc.nudges import Nudges
from ranking_svc.store import Store
from ranking_svc.topics import DEAD_LETTERS, MOVIES_DEAD_LETTERS, Offsets
from ranking_svc.watch import Watchers
from tests.support.waiting import eventually

NOW = 1_750_000_000.0
CHARTS = ChartConfig(poll_interval_s=0.05, min_gap_s=0.0)
FORMULA = FormulaConfig(prior_votes=20.0)

_AT_ONCE = 1000
# Not `kafka_offsets`: a topic that several tests use would be read again, and counted, from where Kafka
# last heard of it.
_TABLES = "scores, inbox, facts, fact_requests, formula, formula_settings, dead_letters, repaired"


@dataclass
class Place:
    """The schema of ranking_svc, emptied, and a changes topic that no other test uses."""

    pg: postgres.Postgres
    store: Store
    redis: "redis.Redis"
    nudges: Nudges
    queue: kafka.KafkaConfig
    producer: kafka.KafkaProducer
    topic: str
    group: str

    async def send(self, changes: Sequence[Change]) -> None:
        """Puts changes into the topic, keyed by movie as the relay of rating_svc does."""
        for start in range(0, len(changes), _AT_ONCE):
            portion = changes[start : start + _AT_ONCE]
            await asyncio.gather(*(self.send_raw(name_of(change), event(change)) for change in portion))

    async def send_raw(self, key: str, value: bytes) -> None:
        await self.producer.send(self.topic, key.encode(), value)

    def consumer(self, group: str = "", topic: str = "") -> kafka.BatchConsumer:
        return kafka.BatchConsumer(self.queue, group or self.group, [topic or self.topic])

    @contextlib.asynccontextmanager
    async def aggregating(
        self, group: str = "", batch: int = 50, dead_limit: int = 100
    ) -> AsyncIterator[Aggregator]:
        """A consumer that takes changes in until the block ends."""
        group = group or self.group
        made = aggregator(
            lambda: self.consumer(group),
            self.queue,
            self.pg,
            self.producer,
            self.nudges,
            ConsumerConfig(batch=batch, dead_limit=dead_limit),
            group,
        )
        task = asyncio.create_task(made.run())
        try:
            yield made
            if task.done():
                task.result()
        finally:
            await end([task])

    async def counted(self, group: str = "", timeout_s: float = 30.0) -> None:
        """Waits until all that the topic holds has been counted."""
        await Offsets(self.queue, self.pg, self.topic, group or self.group).fence(timeout_s)

    async def histograms(self) -> dict[int, Histogram]:
        """All aggregates but those of nothing."""
        page = await self.store.histograms_after(0, 1_000_000)
        return {movie: counts for movie, counts in page if any(counts)}

    async def taken(self) -> int:
        """How many events have been counted."""
        return int(await self.pg.fetchval("SELECT count(*) FROM inbox", fresh=True))

    def feed(self) -> Feed:
        return Feed(self.store, Watchers(100), CHARTS, FORMULA)


@contextlib.asynccontextmanager
async def place_in(stack: Stack, environment: Mapping[str, str] | None = None) -> AsyncIterator[Place]:
    environ = {**stores(stack, "ranking_svc"), **(environment or {})}
    database = load(postgres.PostgresConfig, environ)
    queue = load(kafka.KafkaConfig, environ)
    await migrations.migrate(database.own_session, MIGRATIONS)
    pg = await postgres.connect(database)
    async with pg.write() as connection:
        await connection.execute(f"TRUNCATE {_TABLES}")
    client = redisdb.connect(load(redisdb.RedisConfig, environ))
    name = f"test.{uuid.uuid4().hex}"
    await kafka.ensure_topics(
        queue,
        [kafka.Topic(name, partitions=4), DEAD_LETTERS, MOVIES_DEAD_LETTERS],
    )
    producer = kafka.KafkaProducer(queue)
    watching = asyncio.create_task(pg.watch())
    try:
        yield Place(pg, Store(pg), client, Nudges(client), queue, producer, name, name)
    finally:
        await end([watching])
        await asyncio.gather(producer.close(), pg.close(), client.aclose(), return_exceptions=True)


def event(change: Change) -> bytes:
    """The RatingChanged of a change."""
    made = events_pb2.RatingChanged(schema_version=1, event_id=change.event_id, movie=name_of(change))
    if change.old is not None:
        made.old_score = change.old
    if change.new is not None:
        made.new_score = change.new
    made.submit_time.FromMicroseconds(round(change.time * 1e6))
    return made.SerializeToString()


def name_of(change: Change) -> str:
    return names.movie_name(change.movie)


def history(count: int, seed: int = 1, movies: int = 40) -> tuple[list[Change], dict[int, Histogram]]:
    """Changes of many users' ratings in a possible order, and what a recount at their end says."""
    dice = random.Random(seed)
    ratings: dict[tuple[int, int], int] = {}
    changes = []
    for number in range(1, count + 1):
        rating = dice.randint(1, 60), dice.randint(1, movies)
        old = ratings.pop(rating, None)
        new = None if old is not None and dice.random() < 0.2 else dice.randint(1, 10)
        if new is not None:
            ratings[rating] = new
        changes.append(Change(number, rating[1], old, new, NOW + number))
    return changes, recount(ratings.items())


def recount(ratings: Iterable[tuple[tuple[int, int], int]]) -> dict[int, Histogram]:
    """What the ratings, by (user, movie), come to."""
    counts: dict[int, list[int]] = {}
    for (_, movie), score in ratings:
        counts.setdefault(movie, [0] * 10)[score - 1] += 1
    return {movie: tuple(of) for movie, of in counts.items()}


async def letters_of(place: Place, count: int, box: kafka.Topic = DEAD_LETTERS) -> Sequence[kafka.Record]:
    """The first `count` dead letters of a place's topic."""
    consumer = place.consumer(f"letters.{uuid.uuid4().hex}", box.name)
    found: list[kafka.Record] = []
    try:
        async with asyncio.timeout(30):
            while len(found) < count:
                batch = await consumer.next_batch(100, 1.0)
                await consumer.commit()
                found += [letter for letter in batch if letter.headers.get("marquee-topic") == place.topic]
    finally:
        await consumer.close()
    return found


def listed(feed: Feed) -> dict[str, list[int]]:
    """The movies of each list of the chart, in order."""
    return {name: list(order.after(None)) for name, order in feed.chart.orders.named()}


async def caught_up(place: Place, feed: Feed) -> None:
    """Waits until the replica, and so the feed, has what is committed now."""
    expected = await place.histograms()

    async def same() -> bool:
        await feed.refresh()
        entries = feed.chart.entries(expected) if all(map(feed.chart.get, expected)) else ()
        return {e.movie: e.tally.histogram for e in entries if e.tally} == expected

    await eventually(same)
