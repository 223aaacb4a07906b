"""A caller's patience goes along from service to service, and where it ends all of them stop working for it.

The calls from service to service are: rating_svc asks movie_svc whether a rated movie exists, and ranking_svc
asks rating_svc for its recount. (The third, ranking_svc's for facts of movies, is made for no caller.)
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc, ratings_pb2, ratings_pb2_grpc

from edge import policies
from local.stack.layout import Stack
from tests.support.edge.mesh import SERVICES, Edge, Instance, running_edge
from tests.support.movies import MovieProcess, Omdb
from tests.support.ranking_processes import OPERATOR, RankingProcess
from tests.support.ratings import RatingProcess
from tests.support.waiting import eventually

EDGE_S = 3.0
"""How long the edge waits for a rating here; a service alone would wait for five."""
OWN_S = "5"
SLACK_S = 1.0
"""How much of it may get lost on the way: what is passed on is how much time is left, which counts from when
that comes, on a busy machine a while later. Who passes nothing on waits two seconds longer at least."""


@pytest.fixture
def short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    table = policies.load_table()
    table["classes"]["write"]["timeout"] = f"{EDGE_S:g}s"
    monkeypatch.setattr(policies, "load_table", lambda: table)


@contextlib.asynccontextmanager
async def edge_before_ratings(stack: Stack, movies: str, logs: Path) -> AsyncIterator[Edge]:
    """Envoy before a real rating_svc, which asks for movies at an address."""
    asks = {"MARQUEE_MOVIE_SVC": movies, "MARQUEE_RATING_MOVIE_TIMEOUT_S": OWN_S}
    async with RatingProcess(stack, "serve", logs, **asks) as ratings:
        away = {name: ["127.0.0.1:1"] for name in SERVICES}
        endpoints = away | {"movie_svc": [movies], "rating_svc": [ratings.address]}
        async with running_edge(endpoints=endpoints, expect_ready=False) as edge:

            async def reachable() -> bool:
                name = "cluster.rating_svc.membership_healthy"
                return (await edge.stats(f"^{name}$"))[name] == 1

            await eventually(reachable, what="a healthy rating_svc")
            yield edge


@dataclass
class Seen:
    """What the last service in a chain saw of one call that it hung on."""

    at: float = 0.0
    remaining: float | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def hang(self, context: Any) -> None:
        self.at, self.remaining = time.monotonic(), context.time_remaining()
        try:
            await asyncio.sleep(60)
        finally:
            self.cancelled.set()

    def assert_bounded(self, began: float, patience_s: float) -> None:
        assert self.remaining is not None
        assert self.remaining <= patience_s - (self.at - began) + SLACK_S, "no more than the first had left"


def unheard_of() -> str:
    """A movie that nobody has asked for before."""
    return f"users/me/ratings/tt{random.randrange(90_000_000, 99_999_999)}"


@pytest.mark.usefixtures("short_writes")
async def test_from_the_edge_over_ratings_to_movies(stack: Stack, tmp_path: Path) -> None:
    movies = await Instance().start()
    try:
        async with edge_before_ratings(stack, f"127.0.0.1:{movies.port}", tmp_path) as edge:
            seen = Seen()
            movies.handlers["BatchGetMovies"] = lambda _request, context: seen.hang(context)
            began = time.monotonic()
            answer = await edge.http.put(f"/v1/{unheard_of()}", json={"score": 7}, headers=edge.bearer())
            assert answer.status_code == 504
            error = answer.json()["error"]
            assert (error["code"], error["status"]) == (504, "DEADLINE_EXCEEDED")
            assert error["details"][0]["reason"] == "DEADLINE_EXCEEDED"
            seen.assert_bounded(began, EDGE_S)
            await asyncio.wait_for(seen.cancelled.wait(), 30)

            seen = Seen()
            patience_s = 2.0
            metadata = [("authorization", edge.bearer()["authorization"])]
            request = ratings_pb2.RateMovieRequest(name=unheard_of(), score=7)
            async with grpc.aio.insecure_channel(edge.target) as channel:
                stub = ratings_pb2_grpc.RatingServiceStub(channel)
                began = time.monotonic()
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.RateMovie(request, timeout=patience_s, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await asyncio.wait_for(seen.cancelled.wait(), 30)
            seen.assert_bounded(began, patience_s)
    finally:
        await movies.stop()


@pytest.mark.usefixtures("short_writes")
async def test_the_real_movie_svc_stops_waiting_for_omdb(stack: Stack, tmp_path: Path) -> None:
    omdb = Omdb(stack)
    # By itself it would wait for as long as this, and it stops only when its questions are answered.
    patient = {"MARQUEE_OMDB_DEADLINE_S": "15", "MARQUEE_OMDB_ATTEMPT_S": "15"}
    async with (
        MovieProcess(stack, tmp_path, **patient) as movies,
        edge_before_ratings(stack, movies.address, tmp_path) as edge,
    ):
        await omdb.behave(mode="hanging")
        try:
            answer = await edge.http.put(f"/v1/{unheard_of()}", json={"score": 7}, headers=edge.bearer())
            # It says just before the deadline that it can't tell: the rating may still be in time, or not.
            assert answer.status_code in (200, 504)

            async def stopped() -> bool:
                page = await movies.metrics()
                started = 'grpc_server_started_total{grpc_method="BatchGetMovies"'
                asked = sum(value for name, value in page.items() if name.startswith(started))
                return asked >= 1 and page["grpc_server_in_flight"] == 0

            await eventually(stopped, timeout=12, what="the end of movie_svc's call")
        finally:
            await omdb.reset()


async def test_from_an_operator_over_rankings_to_ratings(stack: Stack, tmp_path: Path) -> None:
    seen, patience_s = Seen(), 2.0

    class Totals(internal_pb2_grpc.RatingTotalsServiceServicer):
        async def StreamTotals(self, _request: Any, context: Any) -> AsyncIterator[Any]:
            await seen.hang(context)
            yield internal_pb2.StreamTotalsResponse()

    server = grpc.aio.server()
    internal_pb2_grpc.add_RatingTotalsServiceServicer_to_server(Totals(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with RankingProcess(stack, "serve", tmp_path, MARQUEE_RATING_SVC=address) as rankings:
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rankings.admin.Reconcile(
                    rankings_pb2.ReconcileRequest(),
                    timeout=patience_s,
                    metadata=OPERATOR,
                )
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await asyncio.wait_for(seen.cancelled.wait(), 30)
            seen.assert_bounded(began, patience_s)
    finally:
        await server.stop(None)
