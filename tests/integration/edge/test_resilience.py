"""Instances come, go, drain and break: what of it a client notices."""

import asyncio
import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2

from edge.render import render
from tests.support.edge.mesh import (
    RANKINGS,
    SERVICES,
    Edge,
    Instance,
    eventually,
    fail,
    rich_error,
    running_edge,
)
from tests.support.repeating import connected, repeatedly

pytestmark = pytest.mark.alone

MOVIE = "/v1/movies/tt0111161"
RATING = "/v1/users/me/ratings/tt0111161"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    async with running_edge() as edge:
        yield edge


@pytest.fixture
async def pair() -> AsyncIterator[Edge]:
    async with running_edge(instances=2) as edge:
        yield edge


async def test_a_json_callers_patience_is_the_services_deadline(edge: Edge) -> None:
    await edge.http.get(MOVIE, headers={"grpc-timeout": "1H"})
    await edge.http.get("/v1/movies:batchGet?names=movies/tt1")
    single, batch = (call.time_remaining for call in edge.service.calls)
    assert single is not None
    assert batch is not None
    assert 2 < single <= 5
    assert 10 < batch <= 15


async def test_a_grpc_callers_deadline_reaches_the_service(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        movies = movies_pb2_grpc.MovieServiceStub(channel)
        await movies.GetMovie(movies_pb2.GetMovieRequest(name="movies/tt1"), timeout=3)
        await movies.GetMovie(movies_pb2.GetMovieRequest(name="movies/tt1"))
    own, none = (call.time_remaining for call in edge.service.calls)
    assert own is not None
    assert none is not None
    assert 1 < own <= 3
    assert 3 < none <= 5


async def test_a_hanging_service_ends_in_504_in_time(edge: Edge) -> None:
    cancelled = asyncio.Event()

    async def hang(_request: object, _context: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    edge.service.handlers["GetMovie"] = hang
    answer = await edge.http.get(MOVIE)
    assert answer.status_code == 504
    assert answer.json()["error"]["status"] == "DEADLINE_EXCEEDED"
    await asyncio.wait_for(cancelled.wait(), 30)
    assert len(edge.service.calls) == 1, "a call that timed out is not tried again"


async def test_a_read_that_hangs_is_tried_on_another_instance(pair: Edge) -> None:
    async def hang(_request: object, _context: object) -> None:
        await asyncio.sleep(60)

    pair.instances[0].handlers["GetRating"] = hang
    async with asyncio.timeout(60):
        while not pair.instances[0].calls:  # chance chooses which of the two a call comes to first
            answer = await pair.http.get(RATING, headers=pair.bearer())
            assert answer.status_code == 200


async def test_a_client_that_leaves_cancels_its_call(edge: Edge) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_request: object, _context: object) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    edge.service.handlers["GetMovie"] = hang
    call = asyncio.create_task(edge.http.get(MOVIE))
    await asyncio.wait_for(begun.wait(), 30)
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 30)


async def test_a_watch_outlives_every_time_out_of_unary_calls(edge: Edge) -> None:
    sent = 0

    async def slowly(request: Any, _context: object) -> AsyncIterator[rankings_pb2.Score]:
        nonlocal sent
        for votes in (1, 2):
            sent = votes
            yield rankings_pb2.Score(name=request.name, votes=votes)
            await asyncio.sleep(6)

    edge.service.handlers["WatchScore"] = slowly
    async with edge.http.stream("GET", MOVIE + "/score:watch") as stream:
        sent_by_then = [sent async for _ in stream.aiter_lines()]
    assert sent_by_then == [1, 2], "the first line comes at once, not with the second"
    assert edge.service.calls[-1].time_remaining is None


async def test_an_unavailable_service_is_told_apart_and_says_when_to_come_back(edge: Edge) -> None:
    await edge.service.set_serving(False, RANKINGS)

    async def down() -> bool:
        return (await edge.http.get("/v1/charts/trending")).status_code == 503

    await eventually(down, what="503 for the charts")
    answer = await edge.http.get("/v1/charts/trending")
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["details"][1]["retryDelay"] == "1s"
    assert (await edge.http.get("/readyz")).status_code == 503
    assert (await edge.http.get("/healthz")).status_code == 200
    assert (await edge.http.get(MOVIE)).status_code == 200, "the other services go on"


async def test_answers_of_a_service_are_final_and_never_eject_it(edge: Edge) -> None:
    away = rich_error(grpc.StatusCode.UNAVAILABLE, "OMDb is away")
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, away)
    answers = [await edge.http.get(MOVIE) for _ in range(50)]
    assert {answer.status_code for answer in answers} == {503}
    assert len(edge.service.calls) == 50, "the edge does not multiply what a service refuses"
    edge.service.handlers.clear()
    assert (await edge.http.get(MOVIE)).status_code == 200
    assert await ejected(edge) == 0


@pytest.fixture
async def three() -> AsyncIterator[Edge]:
    async with running_edge(instances=3) as edge:
        yield edge


async def test_an_instance_that_fails_alone_is_left_out(three: Edge) -> None:
    broken = rich_error(grpc.StatusCode.INTERNAL, "my disk is full")
    three.instances[0].handlers["GetMovie"] = lambda request, context: fail(context, broken)
    async with under_load(three, "GET", MOVIE) as outcomes:

        async def left_out() -> bool:
            return await ejected(three) == 1

        await eventually(left_out, timeout=90, what="the broken instance's ejection")
        calls = len(three.instances[0].calls)
        failed = outcomes[500]
        await enough(outcomes, 50)
    assert len(three.instances[0].calls) <= calls + 8, "only what was under way"
    assert outcomes[500] <= failed + 8


async def test_instances_that_fail_alike_are_kept(three: Edge) -> None:
    away = rich_error(grpc.StatusCode.UNAVAILABLE, "OMDb is away")
    for instance in three.instances:
        instance.handlers["GetMovie"] = lambda request, context: fail(context, away)
    async with under_load(three, "GET", MOVIE) as outcomes:
        await enough(outcomes, 300)
        await asyncio.sleep(4)  # more than one round of detection
        assert await ejected(three) <= 1
        for instance in three.instances:
            instance.handlers.clear()
        failed = outcomes[503]
        await enough(outcomes, 100)
    assert set(outcomes) == {200, 503}
    assert outcomes[503] <= failed + 8, "what is back is used at once"


async def ejected(edge: Edge) -> int:
    name = "cluster.movie_svc.outlier_detection.ejections_active"
    return (await edge.stats(f"^{name}$"))[name]


async def test_a_draining_instance_costs_no_call(pair: Edge) -> None:
    leaving = pair.instances[0]
    async with under_load(pair, "GET", MOVIE) as outcomes:
        await enough(outcomes, 100)
        await leaving.set_serving(False)
        # The chassis stops once it has waited for that; what was under way then has been recorded.
        await eventually(lambda: _healthy(pair, 1), what="an edge that has noticed")
        await enough(outcomes, 50)
        calls_at_stop = len(leaving.calls)
        await leaving.stop(grace=5)
        assert len(leaving.calls) == calls_at_stop
        await enough(outcomes, 100)
        back = await Instance().start(leaving.port)
        pair.instances.append(back)
        await eventually(lambda: _has_calls(back), what="calls to the restarted instance")
    assert set(outcomes) == {200}, outcomes


async def test_a_killed_instance_costs_no_read(edge: Edge) -> None:
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.edge.instance", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        assert victim.stdout is not None
        port = int(await asyncio.wait_for(victim.stdout.readline(), 60))
        endpoints = {name: [f"127.0.0.1:{edge.service.port}", f"127.0.0.1:{port}"] for name in SERVICES}
        render(dataclasses.replace(edge.settings, endpoints=endpoints), edge.folder / "envoy")

        await eventually(lambda: _healthy(edge, 2), what="two healthy instances")
        async with under_load(edge, "GET", MOVIE) as outcomes:
            await enough(outcomes, 100)
            victim.kill()
            await enough(outcomes, 300)
        assert set(outcomes) == {200}, outcomes
    finally:
        if victim.returncode is None:
            victim.kill()
        await victim.wait()


async def test_a_write_that_may_have_happened_is_not_repeated(pair: Edge) -> None:
    begun = asyncio.Event()

    async def hang(_request: object, _context: object) -> None:
        begun.set()
        await asyncio.sleep(60)

    for instance in pair.instances:
        instance.handlers["RateMovie"] = hang
    write = asyncio.create_task(pair.http.put(RATING, json={"score": 7}, headers=pair.bearer()))
    await asyncio.wait_for(begun.wait(), 30)
    (struck,) = [instance for instance in pair.instances if instance.calls]
    await struck.stop(None)
    assert (await write).status_code in (499, 503)
    assert sum(len(instance.calls) for instance in pair.instances) == 1


async def test_new_endpoints_are_taken_up_without_a_restart(edge: Edge) -> None:
    newcomer = await Instance().start()
    try:
        endpoints = {name: [f"127.0.0.1:{newcomer.port}"] for name in SERVICES}
        async with under_load(edge, "GET", MOVIE) as outcomes:
            await enough(outcomes, 50)
            render(dataclasses.replace(edge.settings, endpoints=endpoints), edge.folder / "envoy")
            await eventually(lambda: _has_calls(newcomer), what="calls to the new instance")
            # An endpoint that is gone from the file serves on until it says that it is going.
            await edge.service.set_serving(False)

            async def left_out() -> bool:
                before = len(edge.service.calls)
                await enough(outcomes, 50)
                return len(edge.service.calls) == before

            await eventually(left_out, what="the last call to the old one")
            await edge.service.stop(grace=5)
            await enough(outcomes, 50)
        assert set(outcomes) == {200}, outcomes
    finally:
        await newcomer.stop()


async def _healthy(edge: Edge, count: int) -> bool:
    name = "cluster.movie_svc.membership_healthy"
    return (await edge.stats(f"^{name}$"))[name] == count


async def _has_calls(instance: Instance) -> bool:
    return bool(instance.calls)


async def enough(outcomes: Counter[object], more: int) -> None:
    target = outcomes.total() + more

    async def reached() -> bool:
        return outcomes.total() >= target

    await eventually(reached, what=f"{more} more answers")


@contextlib.asynccontextmanager
async def under_load(edge: Edge, verb: str, path: str, clients: int = 8) -> AsyncIterator[Counter[object]]:
    """Eight clients that ask one after the other; counts the statuses (or errors) they get."""
    outcomes: Counter[object] = Counter()

    async def call(http: httpx.AsyncClient) -> None:
        try:
            outcomes[(await http.request(verb, path)).status_code] += 1
        except httpx.HTTPError as error:
            outcomes[repr(error)] += 1

    async with (
        connected(edge.url, clients) as https,
        repeatedly(*(partial(call, http) for http in https), pause_s=0.002),
    ):
        yield outcomes
