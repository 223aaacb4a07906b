"""movie_svc as a process of its own, for tests, and the OMDb that it asks."""

import asyncio
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from local.stack.layout import Stack
from tests.support.process import ServiceProcess, read


class MovieProcess(ServiceProcess):
    """One replica of movie_svc. It asks the stack's OMDb."""

    def __init__(self, stack: Stack, logs: Path, folder: Path | None = None, **environment: str) -> None:
        omdb = {
            "MARQUEE_OMDB_URL": f"http://{stack.address('omdb', 'http')}/",
            "OMDB_API_KEY": "simulated",
        }
        super().__init__(stack, "movie_svc", "serve", logs, folder, **{**omdb, **environment})

    @cached_property
    def stub(self) -> "movies_pb2_grpc.MovieServiceAsyncStub":
        return movies_pb2_grpc.MovieServiceStub(self.channel)

    async def get(self, name: str, timeout: float = 5, **fields: Any) -> movies_pb2.Movie:
        return (await self.get_with_source(name, timeout, **fields))[0]

    async def get_with_source(
        self, name: str, timeout: float = 5, **fields: Any
    ) -> tuple[movies_pb2.Movie, str]:
        """The movie, and the layer that it came from."""
        call = self.stub.GetMovie(movies_pb2.GetMovieRequest(name=name, **fields), timeout=timeout)
        movie = await call
        return movie, (await headers(call))["x-marquee-source"]


class Omdb:
    """The simulator's controls."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"http://{stack.address('omdb', 'http')}/_simulator"

    async def behave(self, **wish: Any) -> None:
        """Sets a behaviour; what is not named is as at first."""
        usual = {"mode": "ok", "share": 1, "latency_ms": 0, "jitter_ms": 0, "daily_limit": 0}
        await asyncio.to_thread(read, self._url, {**usual, **wish})

    async def reset(self) -> None:
        await self.behave(reset=True)

    async def calls(self) -> Mapping[str, int]:
        """The number of calls by kind: i, t, s."""
        state = json.loads(await asyncio.to_thread(read, self._url))
        return {kind: state["calls"].get(kind, 0) for kind in "its"}


async def headers(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in await call.initial_metadata()}
