"""Each movie's newest state comes to the topic once it is stored, at once, and never behind an older one."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime

import pytest
from marquee.movies.v1.events_pb2 import MovieChanged
from prometheus_client import CollectorRegistry, Counter, Gauge

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import clock, migrations, postgres
from mesh.config import load
from mesh.hedge import HedgedReads
from mesh.kafka import BatchConsumer, KafkaConfig, Topic, ensure_topics
from mesh.outbox import Meters, Relay, Sink
from mesh.postgres import PostgresConfig
from mesh.tasks import end
from mesh.turns import Turns
from movie_svc import metrics
from movie_svc.__main__ import MIGRATIONS
from movie_svc.config import FreshnessConfig
from movie_svc.storing import changes, records
from movie_svc.storing.store import Store
from tests.support.waiting import eventually

LONG_S = 3600.0


class Bench:
    """movie_svc's tables, a topic of its own, and a relay between them that nothing but NOTIFY wakes."""

    def __init__(self, kafka: KafkaConfig, pg: postgres.Postgres, config: PostgresConfig) -> None:
        self.kafka = kafka
        self.pg = pg
        self.topic = f"changes.{uuid.uuid4().hex}"
        self.store = Store(pg, HedgedReads(pg, metrics.HEDGED))
        registry = CollectorRegistry()
        self.meters = Meters(
            Gauge("active", "", registry=registry),
            Counter("published", "", registry=registry),
        )
        self._turns = Turns(config)

    @contextlib.asynccontextmanager
    async def relaying(
        self, begin: Callable[[], AbstractAsyncContextManager[Sink]] | None = None
    ) -> AsyncIterator[None]:
        """A relay that has its turn, until the block ends."""
        relay = Relay(
            replace(changes.OUTBOX, topic=self.topic),
            self._turns,
            begin or (lambda: changes.begin(self.kafka)),
            self.meters,
            poll_s=LONG_S,
        )
        task = asyncio.create_task(relay.run())
        try:
            await eventually(lambda: self.meters.active._value.get() == 1, 30)
            yield
        finally:
            await end([task])

    async def save(self, number: int, title: str, now: datetime) -> None:
        body = {"Response": "True", "imdbID": f"tt{number:07d}", "Title": title, "Type": "movie"}
        await self.store.save([records.from_answer(body, b"{}", now, FreshnessConfig())])

    async def waiting(self) -> int:
        return int(await self.pg.fetchval("SELECT count(*) FROM outbox", fresh=True))

    async def sent(self) -> list[str]:
        """The titles of all events of the topic, in their order."""
        consumer = BatchConsumer(self.kafka, f"reader-{uuid.uuid4().hex}", [self.topic])
        found: list[str] = []
        try:

            async def read() -> bool:
                batch = await consumer.next_batch(100, 1)
                await consumer.commit()
                found.extend(MovieChanged.FromString(record.value).movie.title for record in batch)
                return bool(found) and not batch

            await eventually(read)
        finally:
            await consumer.close()
        return found


@pytest.fixture
async def bench(stack: Stack) -> AsyncIterator[Bench]:
    config = load(PostgresConfig, stores(stack, "movie_svc"))
    await migrations.migrate(config.own_session, MIGRATIONS)
    pg = await postgres.connect(config)
    async with pg.write() as connection:
        await connection.execute("TRUNCATE movies, outbox CASCADE")
    made = Bench(KafkaConfig(bootstrap=stack.kafka_bootstrap), pg, config)
    await ensure_topics(made.kafka, [Topic(made.topic, 1)])
    yield made
    await pg.close()


async def test_a_change_is_sent_at_once(bench: Bench) -> None:
    async def empty() -> bool:
        return await bench.waiting() == 0

    async with bench.relaying():
        # The first may be found by the look with which a turn begins; nothing looks for the second.
        for title in ("Kes", "Kes 2"):
            await bench.save(1, title, clock.utc_now())
            await eventually(empty)
    assert await bench.sent() == ["Kes", "Kes 2"]


async def test_of_what_waited_the_newest_state_of_each_movie_is_sent(bench: Bench) -> None:
    for title in ("Kes", "Kes 2", "Kes 3"):
        await bench.save(1, title, clock.utc_now())
        await bench.save(2, f"Not {title}", clock.utc_now())
    assert await bench.waiting() == 6
    async with bench.relaying():

        async def empty() -> bool:
            return await bench.waiting() == 0

        await eventually(empty)
    assert sorted(await bench.sent()) == ["Kes 3", "Not Kes 3"]
    assert bench.meters.published._value.get() == 2


async def test_it_is_told_how_many_events_wait_and_for_how_long(bench: Bench) -> None:
    watch = changes.watch(bench.pg)
    async with bench.pg.write() as connection:
        # An event of the release before, which does not say when, and one that has waited.
        await connection.execute("INSERT INTO outbox (movie_id, event) VALUES (1, '')")
        await connection.execute(
            "INSERT INTO outbox (movie_id, event, queued_at) VALUES (2, '', now() - interval '90 s')"
        )
    waiting, age_s = await watch.state()
    assert waiting == 2
    assert 90 <= age_s < 150
    async with bench.pg.write() as connection:
        await connection.execute("TRUNCATE outbox")
    assert await watch.state() == (0, 0)
