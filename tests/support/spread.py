"""Four databases of ratings on one server, their workers, and users who rate."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import asyncpg
from marquee.ratings.v1 import internal_pb2 as pb

from local.stack.layout import Stack
from mesh import migrations, names, postgres
from mesh.kafka import BatchConsumer
from mesh.postgres import Postgres, PostgresConfig
from mesh.tasks import end
from rating_svc import lives, reshard
from rating_svc.cache import Settling
from rating_svc.config import WORKERS, WorkerConfig
from rating_svc.registry import Registry, family
from rating_svc.shards import Shards
from rating_svc.totals import RatingTotalsService
from rating_svc.worker import SubmissionHandler, make_reader
from tests.support.ratings_rig import MIGRATIONS, ROLE, Rig, database, rig, submission
from tests.support.waiting import eventually

PARTITIONS = 8
USERS = [f"user-{i}" for i in range(300)]


class Spread:
    """Four databases, of which some are used, and the workers of all."""

    def __init__(self, bench: Rig, configs: Sequence[PostgresConfig], databases: Sequence[Postgres]) -> None:
        self.bench = bench
        self.configs = configs
        self.databases = databases
        self.wanted: dict[tuple[str, int], int | None] = {}
        self._random = random.Random(3)
        self.told: list[str] = []

    def shards(self, count: int = 4) -> Shards:
        return Shards(self.databases[:count])

    async def rate(self, count: int) -> None:
        """So many submissions more, each after the one before for the same rating."""
        wishes = {}
        for _ in range(count):
            score = self._random.choice([None, *range(1, 11)])
            wish = submission(self._random.choice(USERS), self._random.randrange(1, 20), score)
            wishes[wish.user, wish.movie] = wish
        await self.bench.submit(wishes.values())
        self.wanted |= {key: wish.score for key, wish in wishes.items()}

    @contextlib.asynccontextmanager
    async def rating(self) -> AsyncIterator[None]:
        """Submissions come in meanwhile."""
        done = asyncio.Event()

        async def go_on() -> None:
            while not done.is_set():
                await self.rate(40)

        async with asyncio.TaskGroup() as group:
            group.create_task(go_on())
            yield
            done.set()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The workers run meanwhile, as in one process that knows of all four databases."""
        shards = self.shards()
        await shards.look()
        settling = Settling(self.bench.pending, 0)
        tasks = [asyncio.create_task(shards.follow())]
        for number, pg in shards:
            handler = SubmissionHandler(
                Registry(await lives.known(shards)), settling, self.bench.retention, WORKERS, shards, number
            )
            group = f"{self.bench.topic} shard-{number}"
            reader = make_reader(
                lambda group=group: BatchConsumer(self.bench.kafka, group, [family(self.bench.topic)]),  # type: ignore[misc]
                self.bench.kafka,
                self.bench.producer,
                pg,
                handler,
                WorkerConfig(settle_s=0),
            )
            tasks.append(asyncio.create_task(reader.run()))
        try:
            yield
        finally:
            await end(tasks)

    async def reshard(self, count: int, over: int = 0) -> None:
        shards = self.shards(count)
        await shards.look()
        await reshard.reshard(
            shards, self.configs[:count], self.bench.kafka, self.told.append, over=over, grace_s=0.1
        )

    async def rows(self, query: str) -> list[tuple[int, asyncpg.Record]]:
        """Rows of all databases, each with the number of its database."""
        return [(n, row) for n, pg in enumerate(self.databases) for row in await pg.fetch(query)]

    async def scores(self) -> dict[tuple[str, int], int | None]:
        """All ratings, each from the database that has its user."""
        shards = self.shards()
        await shards.look()
        rows = await self.rows("SELECT user_id, movie_id, score FROM ratings")
        return {
            (row["user_id"], row["movie_id"]): row["score"] for n, row in rows if shards.find(row[0]) == n
        }

    async def stored(self) -> None:
        """Waits until all that was submitted is stored."""

        async def same() -> bool:
            return await self.scores() == self.wanted

        await eventually(same, 60)

    async def totals(self) -> dict[tuple[int, int], int]:
        """What a recount says: votes by movie and score."""
        counts: dict[tuple[int, int], int] = {}
        places: list[tuple[int, int]] = []
        stream = RatingTotalsService(self.shards()).StreamTotals(pb.StreamTotalsRequest(), cast(Any, None))
        async for answer in stream:
            places += [(place.epoch, place.partition) for place in answer.stored]
            for total in answer.totals:
                for score, count in enumerate(total.histogram, 1):
                    if count:
                        key = names.movie_number(total.movie), score
                        assert key not in counts, "a movie came twice"
                        counts[key] = count
        assert sorted(places) == [(1, partition) for partition in range(PARTITIONS)]
        return counts

    def recount(self) -> dict[tuple[int, int], int]:
        """What it must say once all is stored."""
        counts: dict[tuple[int, int], int] = {}
        for (_, movie), score in self.wanted.items():
            if score is not None:
                counts[movie, score] = counts.get((movie, score), 0) + 1
        return counts

    async def aggregates(self) -> dict[tuple[int, int], int]:
        """What a reader would count who counts each event once."""
        events: dict[int, tuple[Any, ...]] = {}
        for _, row in await self.rows("SELECT event_id, movie_id, old_score, new_score FROM outbox"):
            event = events.setdefault(row[0], tuple(row))
            assert event == tuple(row), "two events have one id"
        counts: dict[tuple[int, int], int] = {}
        for _, movie, old, new in events.values():
            for score, change in ((old, -1), (new, 1)):
                if score is not None:
                    counts[movie, score] = counts.get((movie, score), 0) + change
        return {key: count for key, count in counts.items() if count}

    async def moved(self, count: int) -> None:
        """Asserts that all is where it belongs, once, in `count` databases."""
        await self.stored()
        rows = await self.rows("SELECT user_id, movie_id FROM ratings")
        assert len(rows) == len(self.wanted), "rows were left where users no longer are"
        for table in ("ratings", "seen_requests"):
            users = {(row[0], n) for n, row in await self.rows(f"SELECT DISTINCT user_id FROM {table}")}
            assert len({user for user, _ in users}) == len(users), "a user is in two databases"
        shards = self.shards()
        await shards.look()
        assert shards.division.complete
        has = [len(shards.division.slots_of(number)) for number in range(4)]
        assert has == [PARTITIONS // count] * count + [0] * (4 - count)
        assert await self.totals() == await self.aggregates() == self.recount()


@contextlib.asynccontextmanager
async def spread_over_four(stack: Stack) -> AsyncIterator[Spread]:
    """All users are in the first one."""
    async with contextlib.AsyncExitStack() as opened:
        bench = await opened.enter_async_context(rig(stack, PARTITIONS))
        dsns = [bench.dsn]
        for _ in range(3):
            name = await opened.enter_async_context(database(stack))
            dsns.append(stack.dsn(ROLE, database=name))
            await migrations.migrate(dsns[-1], MIGRATIONS)
        configs = [PostgresConfig(primary=dsn) for dsn in dsns]
        configs[1:] = [dataclasses.replace(c, name=f"shard-{n}") for n, c in enumerate(configs[1:], 1)]
        databases = []
        for config in configs:
            databases.append(await postgres.connect(config))
            opened.push_async_callback(databases[-1].close)
        yield Spread(bench, configs, databases)
