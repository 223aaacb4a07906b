"""Health (grpc.health.v1): per service, tied to what it depends on.

A dependency is `required` if nothing of the service works without it: while it
is away, the service says NOT_SERVING and the edge sends calls elsewhere. Others
must only have been there once before the service first says SERVING, and an
`optional` one not even that: it costs freshness at most. Each also has a health
name of its own, `dependency/NAME`, so that a probe can ask for it; what there is
to say about it beyond up or down stands in `details`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh.metrics import DEPENDENCY_UP

log = logging.getLogger(__name__)

PROBE_INTERVAL_S: Final = 1.0
PROBE_TIMEOUT_S: Final = 2.0

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

LIVE: Final = "live"
"""What a probe of liveness asks for: SERVING for as long as the process turns, whatever is away."""

Probe = Callable[[], Awaitable[object]]


@dataclass
class _Dependency:
    name: str
    probe: Probe
    required: bool
    optional: bool
    was_up: bool = False
    up: bool = False
    detail: str = ""


class Health:
    """Keeps the statuses of this process's services true."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._services = [""]
        self._dependencies: list[_Dependency] = []
        self._draining = False

    def add_service(self, name: str) -> None:
        """Adds a service whose status depends on all dependencies."""
        self._services.append(name)

    def depends_on(self, name: str, probe: Probe, *, required: bool = False, optional: bool = False) -> None:
        """Adds a dependency; `probe` raises while it is away. A text that it returns is its detail."""
        self._dependencies.append(_Dependency(name, probe, required, optional))

    async def watch(self) -> None:
        """Probes all dependencies every second, forever."""
        while True:
            await self.check()
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def check(self) -> None:
        """Probes all dependencies once and sets the statuses."""
        await asyncio.gather(*(self._probe(dependency) for dependency in self._dependencies))
        ready = all(d.optional or (d.up if d.required else d.was_up) for d in self._dependencies)
        for service in self._services:
            await self._set(service, ready and not self._draining)

    def details(self) -> dict[str, object]:
        """What the last probes found, for people."""
        return {
            "draining": self._draining,
            "dependencies": {
                d.name: {"up": d.up, "required": d.required, "optional": d.optional, "detail": d.detail}
                for d in self._dependencies
            },
        }

    async def drain(self) -> None:
        """Says NOT_SERVING from now on, so that no new calls come."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    async def _probe(self, dependency: _Dependency) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                found = await dependency.probe()
            up = True
            dependency.detail = found if isinstance(found, str) else ""
        except Exception as error:
            up = False
            dependency.detail = str(error) or type(error).__name__
            if dependency.up or not dependency.was_up:
                log.warning("%s is away: %s: %s", dependency.name, type(error).__name__, error)
        if up and not dependency.up:
            log.info("%s is there", dependency.name)
        dependency.up = up
        dependency.was_up = dependency.was_up or up
        DEPENDENCY_UP.labels(dependency.name).set(up)
        await self._set(f"dependency/{dependency.name}", up)

    async def _set(self, service: str, serving: bool) -> None:
        await self.servicer.set(service, _SERVING if serving else _NOT_SERVING)


class ProbeServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The same health for probes that have no certificate, such as the kubelet's, and `live` beside it."""

    def __init__(self, owner: Health) -> None:
        self._owner = owner

    async def Check(
        self,
        request: health_pb2.HealthCheckRequest,
        context: "grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]",
    ) -> health_pb2.HealthCheckResponse:
        """Answers for `live` by itself: that it answers is the answer."""
        if request.service == LIVE:
            return health_pb2.HealthCheckResponse(status=_SERVING)
        found: health_pb2.HealthCheckResponse = await self._owner.servicer.Check(request, context)
        return found
