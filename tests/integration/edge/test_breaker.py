"""A service that holds all it may: what is over the breaker's bound is refused at once, and it shows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2

from edge import policies
from edge.limits import DEFAULT_FILE
from edge.status import Service, look
from local.commands.edge_cli import healthy
from local.stack import state as states
from local.stack.layout import Home
from tests.support.command import marquee
from tests.support.edge.mesh import Edge, running_edge
from tests.support.waiting import eventually

BATCH = "/v1/movies:batchGet?names=movies/tt0111161"
SEARCH = "/v1/movies:search?query=heat"
WATCH = "/v1/movies/tt0111161/score:watch"
CALLS, STREAMS = 8, 3


def bounded(path: Path) -> Path:
    text = DEFAULT_FILE.read_text().replace("max_calls_under_way: 2048", f"max_calls_under_way: {CALLS}")
    path.write_text(text.replace("max_streams_under_way: 2048", f"max_streams_under_way: {STREAMS}"))
    return path


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge waits for as long as a test holds its calls, however busy the machine is."""
    table = policies.load_table()
    for kind in ("batch_read", "search"):
        table["classes"][kind]["timeout"] = "120s"
    monkeypatch.setattr(policies, "load_table", lambda: table)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with running_edge(limits_file=bounded(tmp_path / "limits.yaml")) as edge:
        yield edge


async def seen(edge: Edge, service: str) -> Service:
    found = await asyncio.to_thread(look, edge.admin, edge.folder / "envoy")
    (one,) = [each for each in found.services if each.name == service]
    assert healthy(found) == (not one.open_breakers)
    return one


async def breakers(edge: Edge, service: str, expected: list[str]) -> None:
    async def told() -> bool:
        return (await seen(edge, service)).open_breakers == expected

    await eventually(told, what=f"{service}'s open breakers: {expected}")


def as_mesh(edge: Edge, folder: Path) -> Home:
    """A home in which `marquee` takes this edge for that of a whole mesh."""
    home = Home(folder)
    home.make()
    home.envoy.symlink_to(edge.folder / "envoy")
    state = states.own("ready")
    state.ports = {"envoy/admin": edge.settings.admin_port, "envoy/edge": edge.settings.edge_port}
    states.write(home.state_file, state)
    return home


async def shown(home: Home, code: int) -> str:
    return await asyncio.to_thread(marquee, home, "edge", "status", code=code)


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (503, "UNAVAILABLE")
    information, retry = error["details"]
    assert (information["reason"], information["domain"]) == ("SERVICE_UNAVAILABLE", "marquee")
    assert "overflow" in information["metadata"]["cause"]
    assert retry["retryDelay"] == "1s"


async def test_calls_over_the_bound_are_refused_while_those_under_way_are_answered(
    edge: Edge, tmp_path: Path
) -> None:
    gate = asyncio.Event()

    async def batch(_request: Any, _context: Any) -> movies_pb2.BatchGetMoviesResponse:
        await gate.wait()
        return movies_pb2.BatchGetMoviesResponse()

    edge.service.handlers["BatchGetMovies"] = batch
    home = as_mesh(edge, tmp_path / "home")
    assert "open" not in await shown(home, code=0)
    held = [asyncio.create_task(edge.http.get(BATCH, timeout=120)) for _ in range(CALLS)]
    try:
        await breakers(edge, "movie_svc", ["calls"])
        # The gate is shut: whoever is answered now has not waited for the service.
        for _ in range(5):
            assert_refused(await edge.http.get(BATCH))
        async with grpc.aio.insecure_channel(edge.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await movies_pb2_grpc.MovieServiceStub(channel).SearchMovies(
                    movies_pb2.SearchMoviesRequest(query="heat"), timeout=30
                )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not any(call.done() for call in held)
        assert len(edge.service.calls) == CALLS, "the service sees nothing of the others"
        assert (await seen(edge, "movie_svc")).overflowed == 6
        assert f"open: calls ({CALLS}/{CALLS}+{STREAMS})" in await shown(home, code=1)
        others = await edge.http.get("/v1/users/me/ratings", headers=edge.bearer())
        assert others.status_code == 200, "other services don't feel it"
    finally:
        gate.set()
        answers = await asyncio.gather(*held)
    assert [answer.status_code for answer in answers] == [200] * CALLS
    await breakers(edge, "movie_svc", [])
    assert [(await edge.http.get(BATCH)).status_code for _ in range(5)] == [200] * 5
    assert "open" not in await shown(home, code=0)


async def test_watchers_have_places_of_their_own(edge: Edge) -> None:
    async def watch(request: Any, _context: Any) -> AsyncIterator[rankings_pb2.Score]:
        yield rankings_pb2.Score(name=request.name, votes=1)
        await asyncio.Event().wait()

    edge.service.handlers["WatchScore"] = watch
    async with contextlib.AsyncExitStack() as watching:
        for _ in range(STREAMS):
            stream = await watching.enter_async_context(edge.http.stream("GET", WATCH))
            assert stream.status_code == 200
        await breakers(edge, "ranking_svc", ["streams"])
        assert_refused(await edge.http.get(WATCH))
        calls = [(await edge.http.get("/v1/movies/tt0111161/score")).status_code for _ in range(5)]
        calls.append((await edge.http.get("/v1/charts/trending")).status_code)
        assert set(calls) == {200}, "calls of one answer pass, however many watch"
    await breakers(edge, "ranking_svc", [])
    async with edge.http.stream("GET", WATCH) as stream:
        assert stream.status_code == 200


async def test_slow_calls_are_shed_long_before_the_breaker_opens() -> None:
    async with running_edge() as edge:
        gate = asyncio.Event()

        async def search(_request: Any, _context: Any) -> movies_pb2.SearchMoviesResponse:
            await gate.wait()
            return movies_pb2.SearchMoviesResponse()

        edge.service.handlers["SearchMovies"] = search
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=edge.url, timeout=120, limits=limits) as http:
            calls = [asyncio.create_task(http.get(SEARCH)) for _ in range(150)]

            async def rest_refused() -> bool:
                return sum(call.done() for call in calls) == 150 - 64

            await eventually(rest_refused, what="the refusal of all but 64")
            assert (await seen(edge, "movie_svc")).open_breakers == []
            gate.set()
            answers = await asyncio.gather(*calls)
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(refused) == 150 - 64
        assert {each.json()["error"]["details"][0]["metadata"]["cause"] for each in refused} == {
            "reached_concurrency_limit"
        }
