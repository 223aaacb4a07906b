"""Whether a rated movie exists: movie_svc says so, and its troubles never stop a rating."""

import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from marquee.ratings.v1 import ratings_pb2 as pb

from local.stack.layout import Stack
from tests.support.errors import Details
from tests.support.movies import MovieProcess, Omdb
from tests.support.ratings import RatingProcess, User, mine

KNOWN = 111161
"""The Shawshank Redemption: the simulated OMDb has it."""


def unknown() -> int:
    """A movie that nobody has heard of before."""
    return random.randrange(90_000_000, 99_999_999)


@pytest.fixture(scope="module")
async def omdb(stack: Stack) -> AsyncIterator[Omdb]:
    found = Omdb(stack)
    await found.behave()
    yield found
    await found.reset()


@pytest.fixture(scope="module")
async def movies(
    stack: Stack, omdb: Omdb, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MovieProcess]:
    logs = tmp_path_factory.mktemp("movies")
    async with MovieProcess(stack, logs, MARQUEE_OMDB_RATE="1000", MARQUEE_OMDB_BURST="1000") as process:
        yield process


@pytest.fixture(scope="module")
async def replica(
    stack: Stack, movies: MovieProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RatingProcess]:
    logs: Path = tmp_path_factory.mktemp("ratings")
    patient = {"MARQUEE_RATING_MOVIE_TIMEOUT_S": "4", "MARQUEE_RATING_MOVIE_MISSING_S": "0.5"}
    async with RatingProcess(stack, "serve", logs, MARQUEE_MOVIE_SVC=movies.address, **patient) as role:
        yield role


@pytest.fixture
async def user(replica: RatingProcess) -> AsyncIterator[User]:
    async with grpc.aio.insecure_channel(replica.address) as channel:
        yield User(channel, f"user-{uuid.uuid4()}")


async def test_a_movie_that_does_not_exist_is_refused_and_one_that_does_is_taken(user: User) -> None:
    number = unknown()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await user.rate(number, 5)
    details = Details(caught.value)
    assert (details.code, details.reason) == (grpc.StatusCode.NOT_FOUND, "MOVIE_NOT_FOUND")
    assert (await user.rate(KNOWN, 9)).score == 9
    assert await user.score(number) is None
    # What was rated while nobody could tell can always be deleted.
    await user.delete(number)


async def test_a_batch_refuses_only_the_movies_that_do_not_exist(user: User) -> None:
    numbers = [KNOWN, unknown(), 68646, unknown()]
    answer = await user.stub.BatchRateMovies(
        pb.BatchRateMoviesRequest(
            parent="users/me", requests=[pb.RateMovieRequest(name=mine(n), score=7) for n in numbers]
        ),
        **user._call({}),
    )
    assert [result.reason for result in answer.results] == ["", "MOVIE_NOT_FOUND", "", "MOVIE_NOT_FOUND"]
    assert len(await user.export()) == 2


@pytest.mark.parametrize("mode", ["limited", "html", "hanging"])
async def test_a_rating_is_taken_while_omdb_gives_no_answer(user: User, omdb: Omdb, mode: str) -> None:
    await omdb.behave(mode=mode)
    try:
        assert (await user.rate(unknown(), 5)).score == 5
    finally:
        await omdb.behave()


async def test_a_rating_is_taken_quickly_while_movie_svc_is_away(
    user: User, replica: RatingProcess, movies: MovieProcess
) -> None:
    await movies.kill()
    for _ in range(5):
        assert (await user.rate(unknown(), 5)).score == 5
    unchecked = 'marquee_rating_movie_checks_total{answer="unchecked"}'
    before = await replica.metric(unchecked)
    for _ in range(20):
        await user.rate(unknown(), 5)
    # It is left alone for a while: each rating would wait for it otherwise.
    assert "ratings are taken unchecked for 2 s" in replica.log.read_text()
    assert await replica.metric(unchecked) == before + 20
    # What was known stays known.
    assert (await user.rate(KNOWN, 8)).score == 8
