"""What one client may do, and that another one does not feel it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2

from edge.limits import CLASSES, DEFAULT_FILE
from tests.support.edge.mesh import Edge, running_edge
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"
RATING = "/v1/users/me/ratings/tt0111161"


def tight(path: Path) -> Path:
    """The default limits with buckets that a test can empty."""
    limits = yaml.safe_load(DEFAULT_FILE.read_text())
    for tier, bursts in {"anonymous": 5, "free": 10, "partner": 50}.items():
        limits["tiers"][tier] = {kind: {"burst": bursts, "per_second": 1} for kind in CLASSES}
    path.write_text(yaml.safe_dump(limits))
    return path


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with running_edge(limits_file=tight(tmp_path / "limits.yaml"), trusted_hops=1) as edge:
        yield edge


def at(address: str) -> dict[str, str]:
    """What the one trusted proxy says of a client's address."""
    return {"x-forwarded-for": f"6.6.6.6, {address}"}


async def passed(edge: Edge, path: str, headers: dict[str, str], verb: str = "GET", calls: int = 60) -> int:
    """How many of so many calls were let through."""
    body = {"score": 7} if verb == "PUT" else None
    answers = [await edge.http.request(verb, path, headers=headers, json=body) for _ in range(calls)]
    assert {answer.status_code for answer in answers} <= {200, 429}
    return sum(answer.status_code == 200 for answer in answers)


async def drained(edge: Edge, burst: int, path: str, headers: dict[str, str], verb: str = "GET") -> None:
    """Empties a bucket: a burst is let through, and what was refilled meanwhile, one a second."""
    began = time.monotonic()
    count = await passed(edge, path, headers, verb)
    assert burst <= count <= burst + refilled(began)


def refilled(began: float) -> float:
    """How many calls a bucket of one a second may have got since then, at most."""
    return time.monotonic() - began + 2


async def test_each_address_has_its_own_bucket(edge: Edge) -> None:
    await drained(edge, 5, MOVIE, at("203.0.113.1"))
    await drained(edge, 5, MOVIE, at("203.0.113.2"))
    await drained(edge, 5, MOVIE, at("2001:db8::1"))
    await drained(edge, 0, MOVIE, at("2001:db8::2"))  # one IPv6 client has a whole /64
    await drained(edge, 5, MOVIE, at("2001:db8:0:1::1"))


async def test_one_client_can_not_hold_all_streams(edge: Edge) -> None:
    held = asyncio.Event()

    async def silent(request: rankings_pb2.WatchScoreRequest, _: Any) -> AsyncIterator[rankings_pb2.Score]:
        yield rankings_pb2.Score(name=request.name)
        await held.wait()

    edge.service.handlers["WatchScore"] = silent
    limits = httpx.Limits(max_connections=100)
    async with (
        httpx.AsyncClient(base_url=edge.url, timeout=60, limits=limits) as http,
        contextlib.AsyncExitStack() as streams,
    ):

        async def open_streams(address: str) -> None:
            began = time.monotonic()
            found = [
                await streams.enter_async_context(
                    http.stream("GET", f"{MOVIE}/score:watch", headers=at(address))
                )
                for _ in range(20)
            ]
            assert {stream.status_code for stream in found} <= {200, 429}
            count = sum(stream.status_code == 200 for stream in found)
            assert 5 <= count <= 5 + refilled(began)

        await open_streams("203.0.113.1")
        assert await passed(edge, MOVIE, at("203.0.113.1"), calls=3) == 3, "other calls have their own bucket"
        await open_streams("203.0.113.2")
        held.set()


async def test_an_address_can_not_be_made_up(edge: Edge) -> None:
    outcomes, began = 0, time.monotonic()
    for number in range(60):
        headers = {"x-forwarded-for": f"6.6.6.{number}, 203.0.113.9"}
        outcomes += (await edge.http.get(MOVIE, headers=headers)).status_code == 200
    assert outcomes <= 5 + refilled(began)


async def test_each_user_has_a_bucket_whatever_the_address(edge: Edge) -> None:
    ann, bob = edge.bearer("ann"), edge.bearer("bob")
    await drained(edge, 10, MOVIE, {**ann, **at("203.0.113.1")})
    await drained(edge, 0, MOVIE, {**ann, **at("203.0.113.2")})
    await drained(edge, 10, MOVIE, {**bob, **at("203.0.113.1")})


async def test_each_class_of_calls_has_its_own_bucket(edge: Edge) -> None:
    ann = edge.bearer("ann")
    await drained(edge, 10, RATING, ann, "PUT")
    await drained(edge, 10, RATING, ann)
    await drained(edge, 10, "/v1/movies:search?query=ab", ann)
    await drained(edge, 10, "/v1/movies:batchGet?names=movies/tt1", ann)


async def test_tiers_differ_and_an_unknown_one_counts_as_the_default(edge: Edge) -> None:
    await drained(edge, 50, RATING, edge.bearer("studio", tier="partner"))
    await drained(edge, 10, RATING, edge.bearer("eve", tier="platinum"))
    await drained(edge, 5, MOVIE, {**at("203.0.113.3"), "x-marquee-tier": "partner"})


async def test_a_refusal_says_when_to_come_back(edge: Edge) -> None:
    await passed(edge, MOVIE, at("203.0.113.1"))

    async def refused() -> httpx.Response | None:
        # A second may just have filled the bucket up by one call.
        found = await edge.http.get(MOVIE, headers=at("203.0.113.1"))
        return found if found.status_code == 429 else None

    answer = await eventually(refused)
    assert int(answer.headers["retry-after"]) >= 1
    assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("5", "0")
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert [detail["@type"].rpartition(".")[2] for detail in error["details"]] == ["ErrorInfo", "RetryInfo"]

    async def again() -> bool:
        return (await edge.http.get(MOVIE, headers=at("203.0.113.1"))).status_code == 200

    await eventually(again, what="a refilled bucket")


async def test_allowed_calls_tell_what_is_left(edge: Edge) -> None:
    began = time.monotonic()
    headers = [(await edge.http.get(RATING, headers=edge.bearer("ann"))).headers for _ in range(6)]
    first, *_, last = (int(each["ratelimit-remaining"]) for each in headers)
    assert first == 9
    assert 4 <= last < 4 + refilled(began)


async def test_grpc_calls_are_limited_alike(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        movies = movies_pb2_grpc.MovieServiceStub(channel)
        codes, began = [], time.monotonic()
        for _ in range(20):
            try:
                await movies.GetMovie(movies_pb2.GetMovieRequest(name="movies/tt1"), timeout=30)
                codes.append(grpc.StatusCode.OK)
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
    assert 5 <= codes.count(grpc.StatusCode.OK) <= 5 + refilled(began)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_health_pages_are_not_limited(edge: Edge) -> None:
    assert {(await edge.http.get("/healthz")).status_code for _ in range(100)} == {200}


async def test_connections_are_bounded(tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text(DEFAULT_FILE.read_text().replace("max_connections: 10000", "max_connections: 20"))
    async with running_edge(limits_file=limits) as edge:
        clients = [httpx.AsyncClient(base_url=edge.url, timeout=20) for _ in range(40)]
        served = 0
        for client in clients:
            try:
                served += (await client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                continue
        for client in clients:
            await client.aclose()
        assert 10 <= served <= 20
