"""movie_svc as a process of its own, for tests, and the OMDb that it asks."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from local.servers.services import stores
from local.stack.layout import Stack
from tests.support.ports import free_port

_READY_S = 60.0
_STOP_S = 20.0


class MovieProcess:
    """One replica of movie_svc; an async context manager."""

    def __init__(self, stack: Stack, log: Path, folder: Path | None = None, **environment: str) -> None:
        """`folder`: where it runs, and looks for its code first; the tests' own if not given."""
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        self._log = log
        self._folder = folder
        self.environment = {
            **os.environ,
            **stores(stack, "movie_svc"),
            "MARQUEE_GRPC_ADDRESS": self.address,
            "MARQUEE_METRICS_ADDRESS": self.metrics_address,
            "MARQUEE_OMDB_URL": f"http://{stack.address('omdb', 'http')}/",
            "OMDB_API_KEY": "simulated",
            "MARQUEE_DRAIN_WAIT_S": "0",
            **environment,
        }

    async def __aenter__(self) -> "MovieProcess":
        self._start()
        self._channel = grpc.aio.insecure_channel(
            self.address,
            options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)],
        )
        self.stub = movies_pb2_grpc.MovieServiceStub(self._channel)
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, _STOP_S)

    def _start(self) -> None:
        command = [sys.executable, "-m", "movie_svc", "serve"]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self._folder, env=self.environment, stdout=output, stderr=output
            )

    async def _ready(self) -> None:
        health = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service="marquee.movies.v1.MovieService")
        async with asyncio.timeout(_READY_S):
            while True:
                if self.process.poll() is not None:
                    raise RuntimeError(f"movie_svc ended: {self._log.read_text()[-2000:]}")
                try:
                    answer = await health.Check(request, timeout=2, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.aio.AioRpcError:
                    pass
                await asyncio.sleep(0.05)

    async def get(self, name: str, timeout: float = 5, **fields: Any) -> movies_pb2.Movie:
        return (await self.get_with_source(name, timeout, **fields))[0]

    async def get_with_source(
        self, name: str, timeout: float = 5, **fields: Any
    ) -> tuple[movies_pb2.Movie, str]:
        """The movie, and the layer that it came from."""
        call = self.stub.GetMovie(movies_pb2.GetMovieRequest(name=name, **fields), timeout=timeout)
        movie = await call
        return movie, (await headers(call))["x-marquee-source"]

    async def metrics(self) -> dict[str, float]:
        """The metrics page: value by name with labels."""
        raw = await asyncio.to_thread(_read, f"http://{self.metrics_address}/metrics")
        lines = [line for line in raw.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    async def health(self, dependency: str) -> Mapping[str, Any]:
        """What the health page says of a dependency."""
        raw = await asyncio.to_thread(_read, f"http://{self.metrics_address}/health")
        found: Mapping[str, Any] = json.loads(raw)["dependencies"][dependency]
        return found


class Omdb:
    """The simulator's controls."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"http://{stack.address('omdb', 'http')}/_simulator"

    async def behave(self, **wish: Any) -> None:
        """Sets a behaviour; what is not named is as at first."""
        usual = {"mode": "ok", "share": 1, "latency_ms": 0, "jitter_ms": 0, "daily_limit": 0}
        await asyncio.to_thread(_read, self._url, {**usual, **wish})

    async def reset(self) -> None:
        await self.behave(reset=True)

    async def calls(self) -> Mapping[str, int]:
        """The number of calls by kind: i, t, s."""
        state = json.loads(await asyncio.to_thread(_read, self._url))
        return {kind: state["calls"].get(kind, 0) for kind in "its"}


async def headers(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in await call.initial_metadata()}


def _read(url: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())
