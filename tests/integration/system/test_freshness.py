"""Answers from the edge's cache are never older than they say they may be, on the whole mesh."""

import asyncio
import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2, rankings_pb2_grpc

from edge import tokens
from edge.status import look
from local.commands import movies
from local.stack.layout import Stack
from tests.support.waiting import eventually

RATED = "tt0111161"
SCORE = f"/v1/movies/{RATED}/score"
CHART = "/v1/charts/most-voted?pageSize=100"
SLACK_S = 2.0
"""For a busy machine, and for ages told in whole seconds."""


@dataclass(frozen=True)
class Sight:
    """One answer that a reader got."""

    asked_at: float
    value: Any
    may_last_s: float
    """For how long the edge may give it to others, by its own words: `max-age` less `age`."""


@dataclass
class Reader:
    """Asks for the same again and again, as many do for what is popular."""

    path: str
    value: Callable[[Any], Any]
    sights: list[Sight] = field(default_factory=list)

    async def run(self, api: httpx.AsyncClient) -> None:
        while True:
            asked_at = time.monotonic()
            answer = await api.get(self.path)
            if answer.status_code == 200:
                bound = re.search(r"\bmax-age=(\d+)", answer.headers["cache-control"])
                assert bound is not None
                may_last_s = int(bound[1]) - int(answer.headers.get("age", 0))
                self.sights.append(Sight(asked_at, self.value(answer.json()), may_last_s))
            await asyncio.sleep(0.02)

    @property
    def promise_s(self) -> float:
        return max(sight.may_last_s for sight in self.sights)

    def delay_s(self, known_at: float, is_new: Callable[[Any], bool]) -> float:
        """How long after the service knew something new the last reader was told the old."""
        old = [each.asked_at for each in self.sights if each.asked_at > known_at and not is_new(each.value)]
        return max(old, default=known_at) - known_at


@contextlib.asynccontextmanager
async def reading(api: httpx.AsyncClient, *readers: Reader) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(reader.run(api)) for reader in readers]

    async def all_read() -> bool:
        return all(reader.sights for reader in readers)

    try:
        await eventually(all_read, what="an answer for each reader")
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


def at_least(votes: int) -> Callable[[Any], bool]:
    return lambda found: bool(found >= votes)


async def until_known(ask: Callable[[], Awaitable[Any]], is_new: Callable[[Any], bool]) -> float:
    """When the service itself, asked past the cache, first gave something new."""

    async def known() -> bool:
        return is_new(await ask())

    await eventually(known, timeout=30, what="the change in the service")
    return time.monotonic()


@pytest.fixture
async def api(mesh_stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mesh_stack.edge_url, timeout=15) as client:
        yield client


@pytest.fixture
async def uncached(mesh_stack: Stack) -> AsyncIterator[grpc.aio.Channel]:
    """gRPC through the edge, of which nothing is kept."""
    async with grpc.aio.insecure_channel(mesh_stack.address("envoy", "edge")) as channel:
        yield channel


async def cache_hits(stack: Stack) -> int:
    admin = f"http://{stack.address('envoy', 'admin')}"
    return (await asyncio.to_thread(look, admin, stack.home.envoy)).cache_hits


async def test_scores_and_charts_are_as_fresh_as_they_say(
    api: httpx.AsyncClient, uncached: grpc.aio.Channel, mesh_stack: Stack
) -> None:
    rankings = rankings_pb2_grpc.RankingServiceStub(uncached)

    async def votes() -> int:
        return int(
            (await rankings.GetScore(rankings_pb2.GetScoreRequest(name=f"movies/{RATED}/score"))).votes
        )

    def in_chart(chart: Any) -> int:
        return next((entry["votes"] for entry in chart["entries"] if entry["movie"] == f"movies/{RATED}"), 0)

    score, chart = Reader(SCORE, lambda answer: answer["votes"]), Reader(CHART, in_chart)
    before, hits = await votes(), await cache_hits(mesh_stack)
    known: list[tuple[float, int]] = []
    async with reading(api, score, chart):
        for number in range(1, 5):
            token = tokens.issue(mesh_stack.home.tokens, f"voter-{uuid.uuid4()}")
            rated = await api.put(
                f"/v1/users/me/ratings/{RATED}",
                json={"score": 9},
                headers={"authorization": f"Bearer {token}"},
            )
            assert rated.status_code == 200
            rated_at = time.monotonic()
            known.append((await until_known(votes, at_least(before + number)), number))
            print(f"a rating: counted after {known[-1][0] - rated_at:.2f} s")
        await asyncio.sleep(score.promise_s + SLACK_S + 1)  # what is kept too long is to be seen
    assert await cache_hits(mesh_stack) > hits + 20, "most answers come from the cache"
    for reader in (score, chart):
        assert reader.promise_s == 1
        assert reader.sights[-1].value >= before + 4
        for known_at, number in known:
            delay_s = reader.delay_s(known_at, at_least(before + number))
            print(f"{reader.path}: {delay_s:.2f} s behind the service")
            assert delay_s <= reader.promise_s + SLACK_S


async def test_a_movie_is_as_fresh_as_it_says(
    api: httpx.AsyncClient, uncached: grpc.aio.Channel, mesh_stack: Stack, tmp_path: Path
) -> None:
    number = uuid.uuid4().int % 9_000_000 + 90_000_000
    stub = movies_pb2_grpc.MovieServiceStub(uncached)

    async def title() -> str:
        return str((await stub.GetMovie(movies_pb2.GetMovieRequest(name=f"movies/tt{number}"))).title)

    async def imported(title: str) -> None:
        answer = {
            "Title": title,
            "Year": "1999",
            "imdbID": f"tt{number}",
            "Type": "movie",
            "Response": "True",
        }
        file = tmp_path / f"{title}.jsonl"
        file.write_text(json.dumps(answer) + "\n")
        # Not fresh for long, so that it may not be kept for its full minute either.
        environment = {**movies.environment(mesh_stack), "MARQUEE_MOVIE_FRESH_OLD_S": "12"}
        process = await asyncio.create_subprocess_exec(
            *movies.command("import", str(file)), env={**os.environ, **environment}
        )
        assert await process.wait() == 0

    await imported("Before")
    reader = Reader(f"/v1/movies/tt{number}", lambda movie: movie["title"])
    hits = await cache_hits(mesh_stack)
    async with reading(api, reader):
        await imported("After")
        known_at = await until_known(title, lambda found: found == "After")
        while time.monotonic() < known_at + reader.promise_s + SLACK_S + 1:
            await asyncio.sleep(0.1)
    assert await cache_hits(mesh_stack) > hits + 20, "most answers come from the cache"
    assert {sight.value for sight in reader.sights} == {"Before", "After"}
    delay_s = reader.delay_s(known_at, lambda value: value == "After")
    print(f"a movie: {delay_s:.2f} s behind the service, of {reader.promise_s:g} s that it might")
    assert delay_s <= reader.promise_s + SLACK_S


async def test_no_movie_may_be_kept_for_more_than_a_minute(api: httpx.AsyncClient) -> None:
    reader = Reader(f"/v1/movies/{RATED}", lambda movie: movie["title"])
    async with reading(api, reader):

        async def enough() -> bool:
            return len(reader.sights) >= 3

        await eventually(enough, what="three answers")
    assert 0 < reader.promise_s <= 60
