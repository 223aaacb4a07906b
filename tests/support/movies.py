"""movie_svc as a process of its own, for tests, and the OMDb that it asks."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from local.stack.layout import Stack
from tests.support.clients import delete_keys
from tests.support.process import ServiceProcess, read
from tests.support.waiting import eventually

MATRIX, RELOADED, GODFATHER = "movies/tt0133093", "movies/tt0234215", "movies/tt0068646"
UNKNOWN = "movies/tt0999999"
"""OMDb does not have it."""

Start = Callable[..., "MovieProcess"]


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

    async def get(self, name: str, timeout: float = 15, **fields: Any) -> movies_pb2.Movie:
        return (await self.get_with_source(name, timeout, **fields))[0]

    async def get_with_source(
        self, name: str, timeout: float = 15, **fields: Any
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
    return {
        key: str(value) for key, value in (*await call.initial_metadata(), *await call.trailing_metadata())
    }


async def answers(call: Any) -> bool:
    """Whether a call is answered, and not refused."""
    try:
        await call
    except grpc.aio.AioRpcError:
        return False
    return True


async def run_import(replica: MovieProcess, file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "movie_svc", "import", str(file)), env=replica.environment
    )
    assert await process.wait() == 0


async def forget_everything(stack: Stack) -> None:
    """Empties movie_svc's stores: the primary, the replica and Redis."""
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'movie_svc'")
    tables = [row["tablename"] for row in rows if row["tablename"] != "schema_migrations"]

    async def truncated() -> bool:
        # What the replica stores at this moment may hold the tables in another order.
        try:
            await connection.execute(f"TRUNCATE {', '.join(tables)}")
        except asyncpg.DeadlockDetectedError:
            return False
        return True

    if tables:
        await eventually(truncated)
    await replicated(stack, connection)
    await connection.close()
    await delete_keys(stack, "movie_svc", "movie:*")


async def replicated(stack: Stack, primary: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Waits until the replica has what the primary has now."""
    lsn = await primary.fetchval("SELECT pg_current_wal_lsn()::text")
    behind = await asyncpg.connect(stack.dsn("movie_svc", "postgres-replica"))
    await eventually(lambda: behind.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn))
    await behind.close()
