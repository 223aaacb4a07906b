"""Processes of rating_svc and ranking_svc whose clocks are an hour ahead: nobody's answer depends on it."""

import itertools
import random
import signal
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import ratings_pb2 as pb

from local.stack.layout import Stack
from mesh.kafka.retention import Retention
from tests.support.clients import delete_keys
from tests.support.clock import skewed
from tests.support.ranking_processes import RankingProcess
from tests.support.ratings import RatingProcess, User, movie_name
from tests.support.waiting import eventually

# How hot a movie is moves with the time that passes.
pytestmark = pytest.mark.alone

HOUR_S = 3600.0
# Far less than the hour, far more than a busy machine takes.
SOON_S = HOUR_S / 4

_movies = itertools.count(random.randrange(1, 5_000) * 100_000 + 50_000, 10)


class Service:
    """Two fronts, one of them ahead; a worker and a relay, both ahead. The worker prunes often."""

    def __init__(self, stack: Stack, logs: Path) -> None:
        self.stack = stack
        # What is pending is shared only while Redis answers in time, however busy the machine is.
        shares = {"MARQUEE_REDIS_TIMEOUT_S": "5"}
        self.ahead = RatingProcess(stack, "serve", logs, **skewed(HOUR_S), **shares)
        self.right = RatingProcess(stack, "serve", logs, **shares)
        self.worker = RatingProcess(
            stack, "worker", logs, **skewed(HOUR_S), MARQUEE_RATING_PRUNE_INTERVAL_S="0.1"
        )
        self.relay = RatingProcess(stack, "relay", logs, **skewed(HOUR_S))

    async def sql(self, query: str, *args: object, role: str = "rating_svc") -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.stack.dsn(role))
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def score_in_database(self, user: User, movie: int) -> int | None:
        rows = await self.sql(
            "SELECT score FROM ratings WHERE (user_id, movie_id) = ($1, $2)", user.name, movie
        )
        return rows[0]["score"] if rows else None


@pytest.fixture(scope="module")
async def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    made = Service(stack, tmp_path_factory.mktemp("clocks"))
    async with made.ahead, made.right, made.worker, made.relay:
        yield made


@pytest.fixture
async def users(service: Service) -> AsyncIterator[tuple[User, User]]:
    """One user, at the front that is ahead and at the right one."""
    name = f"user-{uuid.uuid4()}"
    async with (
        grpc.aio.insecure_channel(service.ahead.address) as ahead,
        grpc.aio.insecure_channel(service.right.address) as right,
    ):
        yield User(ahead, name), User(right, name)


@pytest.fixture
def movie() -> int:
    return next(_movies)


async def test_the_last_write_wins_and_is_read_back_at_once_at_both(
    service: Service, users: tuple[User, User], movie: int
) -> None:
    ahead, right = users
    service.worker.signal(signal.SIGSTOP)
    try:
        first = await ahead.rate(movie, 9)
        assert (await ahead.score(movie), await right.score(movie)) == (9, 9)
        last = await right.rate(movie, 3)
        assert (await ahead.score(movie), await right.score(movie)) == (3, 3)
        assert (await ahead.get(movie)).state == pb.Rating.STATE_PENDING
    finally:
        service.worker.signal(signal.SIGCONT)
    await eventually(lambda: _is(service, right, movie, 3))
    assert (await ahead.score(movie), await right.score(movie)) == (3, 3)
    # Their times are of the one clock: neither is from the future.
    (now,) = await service.sql("SELECT extract(epoch FROM now())::float8 AS s")
    for rating in (first, last, await right.get(movie)):
        assert abs(rating.update_time.ToMicroseconds() / 1e6 - now["s"]) < SOON_S


async def test_what_requests_were_is_kept_for_as_long_as_ever(
    service: Service, users: tuple[User, User], movie: int
) -> None:
    ahead, right = users
    kept, too_old = str(uuid.uuid4()), str(uuid.uuid4())
    await ahead.rate(movie, 8, kept)
    await right.rate(movie + 1, 8, too_old)
    await right.rate(movie, 4)
    await eventually(lambda: _is(service, right, movie, 4))
    await eventually(lambda: _is(service, right, movie + 1, 8))
    for request, age_s in ((kept, -SOON_S), (too_old, SOON_S)):
        await service.sql(
            "UPDATE seen_requests SET seen_at = now() - make_interval(secs => $2) WHERE request_id = $1",
            uuid.UUID(request),
            float(Retention().remember_s + age_s),
        )
    await eventually(lambda: _pruned(service, too_old))
    assert not await _pruned(service, kept)
    # Redis may have forgotten the request: the database decides.
    await delete_keys(service.stack, "rating_svc", "rating:request:*")
    for user in users:
        await user.rate(movie, 8, kept)
        await user.rate(movie + 2, 1)
        await eventually(lambda: _is(service, right, movie + 2, 1))
        await user.delete(movie + 2)
        await eventually(lambda: _is(service, right, movie + 2, None))
    assert await service.score_in_database(right, movie) == 4


async def test_trending_is_the_same_at_a_server_that_is_ahead(
    service: Service, users: tuple[User, User], movie: int, tmp_path: Path
) -> None:
    ahead, right = users
    async with (
        RankingProcess(service.stack, "consumer", tmp_path, **skewed(HOUR_S)),
        RankingProcess(service.stack, "serve", tmp_path, **skewed(HOUR_S)) as one,
        RankingProcess(service.stack, "serve", tmp_path) as other,
    ):
        await ahead.rate(movie, 10)
        await right.rate(movie + 1, 10)
        # An hour more or less would be 3 % in this window; a busy machine's minute is 0.05 %.
        for server, number in itertools.product((one, other), (movie, movie + 1)):
            assert await eventually(partial(_heat, server, number)) == pytest.approx(1, rel=0.01)


async def _pruned(service: Service, request: str) -> bool:
    return not await service.sql("SELECT FROM seen_requests WHERE request_id = $1", uuid.UUID(request))


async def _is(service: Service, user: User, movie: int, score: int | None) -> bool:
    return await service.score_in_database(user, movie) == score


async def _heat(server: RankingProcess, movie: int) -> float | None:
    """How hot a movie is in the chart of the day."""
    request = rankings_pb2.ListTrendingRequest(window=rankings_pb2.TRENDING_WINDOW_DAY, page_size=100)
    while True:
        page = await server.rankings.ListTrending(request, timeout=5)
        for entry in page.entries:
            if entry.movie == movie_name(movie):
                return entry.heat
        if not page.next_page_token:
            return None
        request.page_token = page.next_page_token
