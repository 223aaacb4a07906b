"""Fixtures for the tests of movie_svc: replicas on real stores, and a simulated OMDb."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from local.stack.layout import Stack
from tests.support.movies import MovieProcess, Omdb, Start, answers, forget_everything
from tests.support.titles import FILMS, Movies, aged, answer
from tests.support.waiting import eventually

HASTY = {
    "MARQUEE_OMDB_BREAKER_PAUSE_S": "0.2",
    "MARQUEE_OMDB_BREAKER_MAX_PAUSE_S": "0.4",
    "MARQUEE_OMDB_REFUSED_PAUSE_S": "0.05",
    "MARQUEE_OMDB_ATTEMPT_S": "1.5",
    "MARQUEE_OMDB_DEADLINE_S": "2.5",
    "MARQUEE_OMDB_RATE": "1000",
    "MARQUEE_OMDB_BURST": "1000",
    "MARQUEE_OMDB_DAILY_LIMIT": "100000",
    # What replicas share they share through Redis, while it answers in time; and a busy machine is slow.
    "MARQUEE_REDIS_TIMEOUT_S": "5",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def movies(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Movies]:
    """The catalogue of `tests.support.titles`, stored long enough ago to be found."""
    found = Movies(stack, tmp_path_factory.mktemp("names"))
    await forget_everything(stack)
    await found.answers(*(answer(*film, imdbVotes="1,000") for film in FILMS))
    # A search sees what was stored some seconds before it.
    await aged(stack)
    yield found
    await forget_everything(stack)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(movies: Movies) -> AsyncIterator[MovieProcess]:
    """A replica over that catalogue; it asks no OMDb."""
    async with movies.process(MARQUEE_OMDB_MODE="off") as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MovieProcess]:
    """One replica for all tests of a module."""
    async with MovieProcess(stack, tmp_path_factory.mktemp("movies"), **HASTY) as replica:
        yield replica


@pytest_asyncio.fixture(loop_scope="module")
async def omdb(stack: Stack, shared: MovieProcess) -> AsyncIterator[Omdb]:
    """OMDb as it should be, and stores in which nothing is known."""
    found = Omdb(stack)
    await found.behave()
    # A breaker that the last test has opened closes with the first answer.
    await eventually(lambda: answers(shared.get("movies/tt0047478")))
    await forget_everything(stack)
    await found.reset()
    yield found
    await found.behave()


@pytest.fixture
def start(stack: Stack, omdb: Omdb, tmp_path: Path) -> Start:
    """Starts more replicas; they wait as little for OMDb as the shared one does, unless told otherwise."""
    return lambda **environment: MovieProcess(stack, tmp_path, **{**HASTY, **environment})


@pytest.fixture
def replica(shared: MovieProcess, omdb: Omdb) -> MovieProcess:
    """The module's replica, to which nothing is known."""
    return shared
