"""rating_svc's processes for tests: each can be started, killed, frozen, and asked."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc, ratings_pb2, ratings_pb2_grpc

from local.servers.services import stores
from local.stack.layout import Stack
from mesh.identity import SUBJECT_HEADER
from tests.support.ports import free_port
from tests.support.waiting import eventually

T = TypeVar("T")

_READY_S = 60.0
_STOP_S = 20.0


class Role:
    """A process of rating_svc; an async context manager."""

    def __init__(self, stack: Stack, role: str, logs: Path, **environment: str) -> None:
        self.role = role
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        self.log = logs / f"{role}-{self.address.rpartition(':')[2]}.log"
        self.environment = {
            **os.environ,
            **stores(stack, "rating_svc"),
            "MARQUEE_GRPC_ADDRESS": self.address,
            "MARQUEE_METRICS_ADDRESS": self.metrics_address,
            "MARQUEE_DRAIN_WAIT_S": "0",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> "Role":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, _STOP_S)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "rating_svc", self.role]

    async def start(self) -> None:
        """Starts it, and waits until it says SERVING."""
        self.spawn()
        await self.ready()

    def spawn(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(), env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Ends it without a chance to clean up."""
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait, _STOP_S)

    async def ready(self) -> None:
        await eventually(self.serving, _READY_S)

    async def serving(self) -> bool:
        """Whether it says SERVING."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.role} ended: {self.log.read_text()[-3000:]}"
        async with grpc.aio.insecure_channel(self.address) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=2
                )
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels that match: `name` may begin a line in full."""
        text = await asyncio.to_thread(_read, f"http://{self.metrics_address}/metrics")
        lines = (line for line in text.splitlines() if line.startswith(name) and line[len(name)] in " {")
        return sum(float(line.rpartition(" ")[2]) for line in lines)


class User:
    """A user of a replica, calling it as the edge does."""

    def __init__(self, channel: grpc.aio.Channel, name: str, timeout_s: float = 10.0) -> None:
        self.name = name
        self._metadata = ((SUBJECT_HEADER, name),)
        self._timeout_s = timeout_s
        self.stub = ratings_pb2_grpc.RatingServiceStub(channel)

    async def rate(self, movie: int, score: int, request_id: str = "", **call: Any) -> ratings_pb2.Rating:
        request = ratings_pb2.RateMovieRequest(name=mine(movie), score=score, request_id=request_id)
        return await self.stub.RateMovie(request, **self._call(call))

    async def delete(self, movie: int, request_id: str = "", **call: Any) -> ratings_pb2.Rating:
        request = ratings_pb2.DeleteRatingRequest(name=mine(movie), request_id=request_id)
        return await self.stub.DeleteRating(request, **self._call(call))

    async def get(self, movie: int, **call: Any) -> ratings_pb2.Rating:
        return await self.stub.GetRating(ratings_pb2.GetRatingRequest(name=mine(movie)), **self._call(call))

    async def score(self, movie: int) -> int | None:
        """The score; None if there is none."""
        try:
            return (await self.get(movie)).score
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return None

    async def list_page(self, **fields: Any) -> ratings_pb2.ListRatingsResponse:
        request = ratings_pb2.ListRatingsRequest(parent="users/me", **fields)
        return await self.stub.ListRatings(request, **self._call({}))

    async def list_all(self, page_size: int = 7, **fields: Any) -> list[ratings_pb2.Rating]:
        """All pages of the list."""
        found: list[ratings_pb2.Rating] = []
        token = ""
        while True:
            page = await self.list_page(page_size=page_size, page_token=token, **fields)
            found += page.ratings
            token = page.next_page_token
            if not token:
                return found

    async def export(self) -> dict[str, int]:
        """All ratings: score by movie."""
        stream = self.stub.ExportRatings(
            ratings_pb2.ExportRatingsRequest(parent="users/me"), **self._call({})
        )
        return {rating.movie: rating.score async for rating in stream}

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": self._metadata, "timeout": self._timeout_s, **call}


async def totals(channel: grpc.aio.Channel, movies: list[int] | None = None) -> dict[str, list[int]]:
    """What StreamTotals returns: histogram by movie."""
    request = internal_pb2.StreamTotalsRequest(movies=[movie_name(m) for m in movies or ()])
    stream = internal_pb2_grpc.RatingTotalsServiceStub(channel).StreamTotals(request, timeout=60)
    return {total.movie: list(total.histogram) async for answer in stream for total in answer.totals}


def mine(movie: int) -> str:
    return f"users/me/ratings/tt{movie:07d}"


def movie_name(movie: int) -> str:
    return f"movies/tt{movie:07d}"


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())
