"""A process of a service, started by a test as it is in production, with its own log and on free ports."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local.servers.services import stores
from local.stack.layout import Stack
from tests.support.ports import free_port
from tests.support.waiting import eventually

_READY_S = 60.0
_STOP_S = 20.0
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200))


class ServiceProcess:
    """A process of a service. As an async context manager: ready inside the block, ended after it.

    Args:
        service: its package, such as movie_svc.
        role: the word that follows the package's name, such as serve.
        logs: the folder of its log.
        folder: the checkout whose code it runs; the tests' own if not given.
        environment: what differs from the stack's.
    """

    def __init__(
        self,
        stack: Stack,
        service: str,
        role: str,
        logs: Path,
        folder: Path | None = None,
        **environment: str,
    ) -> None:
        self.name = f"{service}-{role}"
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        self.log = logs / f"{self.name}-{self.address.rpartition(':')[2]}.log"
        self.environment = {
            **os.environ,
            **stores(stack, service),
            "MARQUEE_GRPC_ADDRESS": self.address,
            "MARQUEE_METRICS_ADDRESS": self.metrics_address,
            "MARQUEE_DRAIN_WAIT_S": "0",
            **environment,
        }
        self._command = [sys.executable, "-m", service, role]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "channel" in self.__dict__:
            await self.channel.close()
        if self.alive:
            self.signal(SIGCONT)
            await self.end()

    @cached_property
    def channel(self) -> grpc.aio.Channel:
        """A connection to it, which is made when it is first asked for."""
        return grpc.aio.insecure_channel(self.address, options=_RECONNECT)

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _started(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    async def start(self) -> None:
        """Starts it, and waits until it says SERVING."""
        self.spawn()
        await self.ready()

    def spawn(self) -> None:
        """Starts it, and waits for nothing."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def signal(self, number: Signals) -> None:
        self._started.send_signal(number)

    async def kill(self) -> None:
        """Ends it without a chance to clean up."""
        await self.end(SIGKILL)

    async def end(self, number: Signals = SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit code.

        Raises:
            TimeoutExpired: it did not end in time, and was killed.
        """
        self.signal(number)
        try:
            return await asyncio.to_thread(self._started.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            self._started.kill()
            raise

    async def ready(self) -> None:
        await eventually(self.serving, _READY_S)

    async def serving(self) -> bool:
        """Whether it says SERVING.

        Raises:
            AssertionError: it has ended.
        """
        assert self.alive, f"{self.name} ended: {self.log.read_text()[-3000:]}"
        request = health_pb2.HealthCheckRequest()
        # A channel that failed once pauses before it connects again.
        async with grpc.aio.insecure_channel(self.address) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=2)
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def metrics(self) -> dict[str, float]:
        """The metrics page: value by name with labels."""
        page = await self._page("metrics")
        lines = [line for line in page.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels; `name` may also end with all of them."""
        page = await self.metrics()
        return sum(value for line, value in page.items() if line == name or line.startswith(f"{name}{{"))

    async def health(self, dependency: str) -> Mapping[str, Any]:
        """What the health page says of a dependency."""
        found: Mapping[str, Any] = json.loads(await self._page("health"))["dependencies"][dependency]
        return found

    async def _page(self, name: str) -> str:
        return (await asyncio.to_thread(read, f"http://{self.metrics_address}/{name}")).decode()


def read(url: str, body: Any = None) -> bytes:
    """What is at the URL; with a body, what posting it as JSON returns."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())
