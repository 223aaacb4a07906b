"""OMDb as movie_svc asks it: rarely, within the calls of a day, and never fooled by its failures."""

import asyncio
import signal
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from marquee.movies.v1 import movies_pb2

from local.stack.layout import Stack
from movie_svc.asking.refresh_queue import RefreshQueue
from tests.support.clients import delete_keys, redis_of
from tests.support.errors import Details, refused
from tests.support.movies import (
    GODFATHER,
    MATRIX,
    UNKNOWN,
    MovieProcess,
    Omdb,
    Start,
    answers,
)
from tests.support.waiting import eventually

# Tests share one replica where they can: starting one takes seconds.
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_movie_that_omdb_does_not_have_is_not_asked_for_again(start: Start, omdb: Omdb) -> None:
    async with start() as replica:
        for _ in range(3):
            details = await refused(replica.get(UNKNOWN))
            assert (details.code, details.reason) == (grpc.StatusCode.NOT_FOUND, "MOVIE_NOT_FOUND")
    async with start() as replica:
        assert (await refused(replica.get(UNKNOWN))).reason == "MOVIE_NOT_FOUND"
    assert (await omdb.calls())["i"] == 1


@pytest.mark.parametrize(
    "mode", ["limited", "invalid_key", "captcha", "down", "html", "truncated", "hanging"]
)
async def test_no_failure_of_omdb_is_taken_for_absence(replica: MovieProcess, omdb: Omdb, mode: str) -> None:
    await replica.get(GODFATHER)
    await omdb.behave(mode=mode)
    details = await refused(replica.get(MATRIX))
    assert (details.code, details.reason) == (grpc.StatusCode.UNAVAILABLE, "OMDB_UNAVAILABLE")
    assert details.retry_s is not None
    assert details.retry_s >= 1
    assert (await replica.get(GODFATHER)).title == "The Godfather"
    await omdb.behave()
    await eventually(lambda: answers(replica.get(MATRIX)))
    assert (await replica.get(MATRIX)).title == "The Matrix"


async def test_a_thousand_who_miss_the_same_title_cost_one_call(start: Start, omdb: Omdb) -> None:
    # Longer than a busy machine takes to send a thousand calls.
    await omdb.behave(latency_ms=6000)
    patient = {"MARQUEE_OMDB_ATTEMPT_S": "20", "MARQUEE_OMDB_DEADLINE_S": "30"}
    async with start(**patient) as one, start(**patient) as other:
        results = await asyncio.gather(
            *((one if i % 2 else other).get(MATRIX, timeout=60) for i in range(1000)), return_exceptions=True
        )
        assert [r for r in results if isinstance(r, BaseException)] == []
        assert (await omdb.calls())["i"] == 1
        coalesced = [
            (await replica.metrics())['marquee_movie_cache_total{layer="l1",outcome="coalesced"}']
            for replica in (one, other)
        ]
        assert sum(coalesced) > 500


async def test_old_titles_are_served_and_marked_while_omdb_is_away(start: Start, omdb: Omdb) -> None:
    short = {
        "MARQUEE_MOVIE_FRESH_OLD_S": "0.5",
        "MARQUEE_MOVIE_GRACE_S": "0.5",
        "MARQUEE_OMDB_BREAKER_PAUSE_S": "0.3",
    }
    async with start(**short) as replica:
        first = await replica.get(MATRIX)
        await omdb.behave(mode="down")

        async def stale() -> bool:
            movie, source = await replica.get_with_source(MATRIX)
            assert movie.etag == first.etag
            assert movie.stale == source.endswith("; stale")
            return movie.stale

        await eventually(stale)
        await omdb.behave()

        async def fresh_again() -> bool:
            movie = await replica.get(MATRIX)
            return not movie.stale and movie.fetch_time.ToSeconds() > first.fetch_time.ToSeconds()

        await eventually(fresh_again, 20)


async def test_health_says_why_omdb_is_left_alone(start: Start, omdb: Omdb) -> None:
    async with start(MARQUEE_OMDB_REFUSED_PAUSE_S="300") as replica:
        await replica.get(GODFATHER)
        assert (await replica.health("omdb"))["detail"] == "breaker closed"
        await omdb.behave(mode="limited")
        await refused(replica.get(MATRIX))

        async def told() -> bool:
            found = await replica.health("omdb")
            detail = found["detail"]
            return not found["up"] and "breaker open: not asked for" in detail and "limited" in detail

        await eventually(told)
        assert (await replica.metrics())["marquee_omdb_breaker_state"] == 2
        assert (await replica.get(GODFATHER)).title == "The Godfather"


async def test_replicas_share_the_days_calls(start: Start, omdb: Omdb) -> None:
    limit = {"MARQUEE_OMDB_DAILY_LIMIT": "4"}
    names = [f"movies/tt{number:07d}" for number in (133093, 234215, 242653, 68646, 71562, 110912)]
    async with start(**limit) as one, start(**limit) as other:
        results = await asyncio.gather(
            *((one if i % 2 else other).get(name) for i, name in enumerate(names)), return_exceptions=True
        )
        errors = [Details(r) for r in results if isinstance(r, grpc.aio.AioRpcError)]
        assert len(errors) == 2
        assert all(e.reason == "OMDB_UNAVAILABLE" for e in errors)
        assert all(e.retry_s is not None and 1 <= e.retry_s <= 86_400 for e in errors)
    assert (await omdb.calls())["i"] == 4


@pytest_asyncio.fixture(loop_scope="module")
async def frozen(stack: Stack, shared: MovieProcess, omdb: Omdb) -> AsyncIterator[None]:
    """The module's replica takes nothing from the queue meanwhile, as it does once a second."""
    shared.signal(signal.SIGSTOP)
    await delete_keys(stack, "movie_svc", "movie:wishes")
    yield
    shared.signal(signal.SIGCONT)


@pytest.mark.usefixtures("frozen")
async def test_what_is_read_most_is_asked_for_again_first(stack: Stack) -> None:
    """Of all replicas together: no one of them has read the second most."""
    client = redis_of(stack, "movie_svc")
    one, other = RefreshQueue(client, enabled=True), RefreshQueue(client, enabled=True)
    for number, here, there in ((111161, 3, 0), (133093, 2, 2), (68646, 1, 0), (12345678, 0, 9)):
        for _ in range(here):
            one.add(number)
        for _ in range(there):
            other.add(number)
    await one.flush()
    await other.flush()
    assert [await one.take() for _ in range(5)] == [12345678, 133093, 111161, 68646, None]
    await client.aclose()


async def test_without_omdb_what_is_not_stored_does_not_exist(start: Start, omdb: Omdb) -> None:
    async with start(MARQUEE_OMDB_MODE="off") as replica:
        assert (await refused(replica.get(MATRIX))).reason == "MOVIE_NOT_FOUND"
        request = movies_pb2.SearchMoviesRequest(query="matrix")
        assert (await replica.stub.SearchMovies(request, timeout=5)).movies == []
    assert sum((await omdb.calls()).values()) == 0
