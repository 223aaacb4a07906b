"""Charts are served and votes count once, whatever is killed or hangs.

Nothing is repaired by hand afterwards.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2 as pb

from local.stack.layout import Home, Shape, Stack
from mesh import kafka
from mesh.errors import MarqueeError
from ranking_svc.model import Change
from ranking_svc.topics import AGGREGATES_GROUP, MOVIES_CHANGED, RATINGS_CHANGED
from tests.support.parts import DATABASES, part
from tests.support.ranking_processes import RankingProcess
from tests.support.rankings import NOW, Place, history, place_in
from tests.support.repeating import repeatedly
from tests.support.stacks import running
from tests.support.waiting import eventually

# The first test of a shape waits for its stores too.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

NO_REDIS = {"MARQUEE_REDIS_URL": "redis://127.0.0.1:1/0", "MARQUEE_REDIS_SENTINELS": ""}


@pytest.fixture(scope="module", params=list(Shape))
def own(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Stores of these tests' own: they are about to be killed."""
    home = Home(Path(tmp_path_factory.mktemp("ranking_faults")))
    with running(home, ["infra"], shape=request.param) as started:
        yield started


@pytest.fixture
async def place(own: Stack) -> AsyncIterator[Place]:
    async with place_in(own) as made:
        await kafka.ensure_topics(
            made.queue,
            [kafka.Topic(RATINGS_CHANGED, partitions=4), kafka.Topic(MOVIES_CHANGED, 1, compacted=True)],
        )
        made.topic = RATINGS_CHANGED
        yield made


class Readers:
    """Calls of a server; `failed` holds those that did."""

    def __init__(self, server: RankingProcess) -> None:
        self._server = server
        self.failed: list[grpc.aio.AioRpcError] = []
        self.answered = 0

    async def read(self) -> None:
        try:
            await self._server.votes(1)
            await self._server.rankings.ListTopRated(pb.ListTopRatedRequest(genre="Drama"), timeout=2)
            await self._server.rankings.ListTopRated(pb.ListTopRatedRequest(min_votes=2), timeout=2)
            self.answered += 3
        except grpc.aio.AioRpcError as error:
            self.failed.append(error)


@asynccontextmanager
async def read_throughout(server: RankingProcess) -> AsyncIterator[Readers]:
    """Reads all the time in the block, and fails if any read did."""
    readers = Readers(server)
    async with repeatedly(readers.read):
        yield readers
    assert readers.answered > 0
    assert readers.failed == []


async def shows(server: RankingProcess, movie: int, votes: int, timeout: float = 30.0) -> None:
    """Waits until a server shows so many votes of a movie."""

    async def there() -> bool:
        return await server.votes(movie) == votes

    await eventually(there, timeout)


async def all_counted(place: Place, expected: dict[int, tuple[int, ...]]) -> None:
    async def same() -> bool:
        try:
            return await place.histograms() == expected
        except MarqueeError:  # the primary is away: it was killed a moment ago
            return False

    await eventually(same, timeout=120)


async def test_redis_hanging_or_killed_costs_nothing_but_freshness(
    own: Stack, place: Place, tmp_path: Path
) -> None:
    changes, expected = history(300)
    async with RankingProcess(own, "serve", tmp_path) as server, RankingProcess(own, "consumer", tmp_path):
        await place.send(changes)
        await all_counted(place, expected)
        await shows(server, 1, sum(expected[1]))
        async with read_throughout(server):
            with (await part(own, "redis")).hung():
                await place.send([Change(1000, 1, None, 7, NOW)])
                await shows(server, 1, sum(expected[1]) + 1)
            (await part(own, "redis")).kill()
            await place.send([Change(1001, 1, None, 7, NOW)])
            await shows(server, 1, sum(expected[1]) + 2)


async def test_without_redis_everything_starts_and_works(own: Stack, place: Place, tmp_path: Path) -> None:
    async with (
        RankingProcess(own, "serve", tmp_path, **NO_REDIS) as server,
        RankingProcess(own, "consumer", tmp_path, **NO_REDIS),
    ):
        await place.send([Change(1, 1, None, 9, NOW)])
        await shows(server, 1, 1)
        assert (await server.health("redis"))["up"] is False


async def test_charts_outlive_the_databases_and_held_votes_count_once(
    own: Stack, place: Place, tmp_path: Path
) -> None:
    changes, expected = history(400)
    async with RankingProcess(own, "serve", tmp_path) as server, RankingProcess(own, "consumer", tmp_path):
        await place.send(changes[:200])
        await place.counted(AGGREGATES_GROUP, 60)
        await shows(server, 1, sum((await place.histograms())[1]))
        async with read_throughout(server):
            with (await part(own, DATABASES)).hung():
                await place.send(changes[200:300])
                # Longer than a statement may take.
                await asyncio.sleep(5)
                assert await server.serving()
            (await part(own, "postgres")).kill()
            await place.send(changes[300:])
            await all_counted(place, expected)
            await shows(server, 1, sum(expected[1]))


async def test_kafka_killed_costs_no_read_and_no_vote(own: Stack, place: Place, tmp_path: Path) -> None:
    changes, expected = history(400)
    async with (
        RankingProcess(own, "serve", tmp_path) as server,
        RankingProcess(own, "consumer", tmp_path) as consumer,
    ):
        await place.send(changes[:200])
        await place.counted(AGGREGATES_GROUP, 60)
        async with read_throughout(server):
            (await part(own, "kafka")).kill()

            async def sent() -> bool:
                try:
                    await place.send(changes[200:])
                except Exception:
                    return False
                return True

            await eventually(sent, timeout=120)
            await all_counted(place, expected)
            await shows(server, 1, sum(expected[1]))
        assert await consumer.serving()


async def test_a_consumer_that_is_killed_again_and_again_counts_everything_once(
    own: Stack, place: Place, tmp_path: Path
) -> None:
    changes, expected = history(3000, movies=200)
    small = {"MARQUEE_RANKING_BATCH": "20", "MARQUEE_KAFKA_SESSION_TIMEOUT_S": "6"}
    await place.send(changes)
    for kills in range(4):
        async with RankingProcess(own, "consumer", tmp_path, **small) as consumer:

            async def some_more(least: int = kills * 300) -> bool:
                return await place.taken() > least

            await eventually(some_more, timeout=60)
            await consumer.end(signal.SIGKILL)
    async with RankingProcess(own, "consumer", tmp_path):
        await all_counted(place, expected)


async def test_a_drain_ends_streams_cleanly_and_soon(own: Stack, place: Place, tmp_path: Path) -> None:
    await place.store.apply([Change(1, 1, None, 9, NOW)])
    async with RankingProcess(own, "serve", tmp_path) as server:
        streams = [
            server.rankings.WatchScore(pb.WatchScoreRequest(name="movies/tt0000001/score")) for _ in range(50)
        ]
        for stream in streams:
            assert (await stream.read()).votes == 1  # type: ignore[attr-defined]
        ending = asyncio.create_task(server.end())
        for stream in streams:
            assert await stream.read() is grpc.aio.EOF
            assert await stream.code() is grpc.StatusCode.OK
        assert await ending == 0
