"""ranking_svc's processes, started as they are in production."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc

from local.servers.services import stores
from local.stack.layout import Stack
from tests.support.ports import free_port
from tests.support.waiting import eventually

OPERATOR = (("x-marquee-subject", "operator"), ("x-marquee-scopes", "marquee.admin"))


@dataclass
class Process:
    """A process of ranking_svc."""

    popen: "subprocess.Popen[bytes]"
    address: str
    metrics: str
    channel: grpc.aio.Channel

    @property
    def rankings(self) -> "rankings_pb2_grpc.RankingServiceAsyncStub":
        return rankings_pb2_grpc.RankingServiceStub(self.channel)

    @property
    def admin(self) -> "rankings_pb2_grpc.RankingAdminServiceAsyncStub":
        return rankings_pb2_grpc.RankingAdminServiceStub(self.channel)

    async def health(self, service: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=10)
        return int(answer.status)

    async def serving(self) -> bool:
        assert self.popen.poll() is None, f"ended with {self.popen.returncode}"
        try:
            return await self.health() == health_pb2.HealthCheckResponse.SERVING
        except grpc.aio.AioRpcError:
            return False

    async def votes(self, movie: int) -> int:
        request = pb.GetScoreRequest(name=f"movies/tt{movie:07d}/score")
        return (await self.rankings.GetScore(request, timeout=2)).votes

    async def metric(self, line: str) -> float:
        """The value of a metric, by its name and labels as they stand on the page."""
        page = await asyncio.to_thread(urllib.request.urlopen, f"http://{self.metrics}/metrics", None, 5)
        found = [row.rpartition(" ") for row in page.read().decode().splitlines() if not row.startswith("#")]
        return {name: float(value) for name, _, value in found}[line]

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        self.popen.send_signal(number)
        return await asyncio.to_thread(self.popen.wait, 30)


@asynccontextmanager
async def process(stack: Stack, role: str, logs: Path, **environment: str) -> AsyncIterator[Process]:
    """A process that has said SERVING; ends with the block."""
    address, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    environ = {
        **os.environ,
        "MARQUEE_MOVIE_SVC": "127.0.0.1:1",
        "MARQUEE_RATING_SVC": "127.0.0.1:1",
        **stores(stack, "ranking_svc"),
        "MARQUEE_GRPC_ADDRESS": address,
        "MARQUEE_METRICS_ADDRESS": metrics,
        "MARQUEE_DRAIN_WAIT_S": "0.2",
        **environment,
    }
    popen = _start(role, environ, logs / f"ranking-{role}-{address.rpartition(':')[2]}.log")
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            made = Process(popen, address, metrics, channel)
            await eventually(made.serving, timeout=60)
            yield made
    finally:
        if popen.poll() is None:
            popen.send_signal(signal.SIGCONT)
            popen.terminate()
            try:
                await asyncio.to_thread(popen.wait, 20)
            except subprocess.TimeoutExpired:
                popen.kill()
                raise


def _start(role: str, environ: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ranking_svc", role],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
