"""The one way to start a process of Marquee: server, health, metrics, drain.

server = Server("movie_svc", load(ServerConfig))
server.add(movies_pb2.DESCRIPTOR.services_by_name["MovieService"], MovieService(store))
server.health.depends_on("postgres", pg.ping)
server.background("relay", relay.run)
await server.run()
"""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh import http_page, logs, metrics, rpc, services, tls, tracing, vitals
from mesh.backoff import Backoff
from mesh.config import ConfigError, load, setting
from mesh.health import Health, ProbeServicer
from mesh.tasks import end

log = logging.getLogger(__name__)

_FIRST_BACKOFF_S: Final = 0.2
_MAX_BACKOFF_S: Final = 10.0
_NEW_OBJECTS: Final = 20_000
_EXIT_S: Final = 10


@dataclass(frozen=True)
class ServerConfig:
    """How a process listens and stops."""

    address: str = setting("MARQUEE_GRPC_ADDRESS", "127.0.0.1:50051", "host:port of the gRPC server")
    metrics_address: str = setting(
        "MARQUEE_METRICS_ADDRESS", "", "host:port of the pages /metrics and /health; empty for none"
    )
    health_address: str = setting(
        "MARQUEE_HEALTH_ADDRESS",
        "",
        "host:port where grpc.health.v1 alone answers, in plain text, for probes that have no certificate; "
        "`live` is SERVING for as long as the process turns; empty for none",
    )
    drain_wait_s: float = setting(
        "MARQUEE_DRAIN_WAIT_S",
        1.0,
        "how long to go on serving after SIGTERM while saying NOT_SERVING, in seconds: longer than the edge "
        "takes to notice. 1 does for `marquee up`, whose edge asks 5 times a second; in Kubernetes, where an "
        "endpoint is removed only after SIGTERM was sent and everybody hears of it later, 10, and "
        "terminationGracePeriodSeconds above it plus MARQUEE_DRAIN_GRACE_S; no preStop is needed then",
        low=0,
        high=60,
    )
    drain_grace_s: float = setting(
        "MARQUEE_DRAIN_GRACE_S", 10.0, "how long calls under way may take to end, in seconds", low=0, high=300
    )
    max_message_bytes: int = setting(
        "MARQUEE_MAX_MESSAGE_BYTES", 4 * 1024 * 1024, "largest request taken, in bytes", low=1024
    )
    max_connection_age_s: int = setting(
        "MARQUEE_MAX_CONNECTION_AGE_S",
        300,
        "after how many seconds a connection is closed politely, so that clients spread over new replicas",
        low=1,
    )


class Server:
    """A grpc.aio server with health, reflection, metrics and graceful drain."""

    def __init__(self, name: str, config: ServerConfig, certificate: tls.TlsConfig | None = None) -> None:
        self.name = name
        self._config = config
        certificate = certificate or load(tls.TlsConfig)
        self._files = tls.Files(certificate) if certificate.enabled else None
        self._services: list[tuple[ServiceDescriptor, object, frozenset[str]]] = []
        self._background: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = []
        self._at_drain: list[Callable[[], None]] = []
        self._stop = asyncio.Event()
        self.health = Health()

    def add(self, service: ServiceDescriptor, servicer: object, callers: Iterable[str] | None = None) -> None:
        """Adds a service: see `mesh.rpc.handlers` for what a servicer is.

        `callers` are the processes that may call it, by the names in their
        certificates: if not given, the services that call it by `mesh.services`,
        and the edge if clients may. Operators always may. It counts only where
        mTLS is on.
        """
        if callers is None:
            callers = services.callers(service.full_name)
            if services.owner(service.full_name).public:
                callers |= {tls.EDGE}
        self._services.append((service, servicer, frozenset(callers) | {tls.OPERATOR}))
        self.health.add_service(service.full_name)

    def background(self, name: str, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Adds a task that runs until the drain; if it fails, it is started again after a pause."""
        self._background.append((name, task))

    def at_drain(self, callback: Callable[[], None]) -> None:
        """Adds what is called when the edge has turned away: the moment to end streams that never would."""
        self._at_drain.append(callback)

    def stop(self) -> None:
        """Begins the drain, as SIGTERM does."""
        self._stop.set()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains.

        The drain: NOT_SERVING; wait until the edge has noticed; refuse new calls
        and let those under way end; cancel the background tasks.

        Raises:
            RuntimeError: the address can't be listened on.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        server = self._make()
        await self.health.check()
        probes = self._make_probes()
        await server.start()
        await probes.start()
        if self._config.metrics_address:
            host, _, port = self._config.metrics_address.rpartition(":")
            http_page.start(host, int(port), self.health.details)
        metrics.GRPC.export()
        metrics.tell_build(self.name)
        tasks = [
            asyncio.create_task(self.health.watch(), name="health"),
            asyncio.create_task(self._supervise("vitals", lambda: vitals.watch(self._files)), name="vitals"),
        ]
        tasks += [
            asyncio.create_task(self._supervise(name, run), name=name) for name, run in self._background
        ]
        log.info("%s serves on %s", self.name, self._config.address)
        await self._stop.wait()
        log.info("%s drains", self.name)
        await self.health.drain()
        await asyncio.sleep(self._config.drain_wait_s)
        for callback in self._at_drain:
            callback()
        await server.stop(self._config.drain_grace_s)
        await probes.stop(0)
        await end(tasks)
        log.info("%s is done", self.name)

    def _make(self) -> grpc.aio.Server:
        age_ms = self._config.max_connection_age_s * 1000
        server = grpc.aio.server(
            options=[
                # Two processes on one port would each get half of the calls, and nobody would notice.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._config.max_message_bytes),
                ("grpc.max_connection_age_ms", age_ms),
                ("grpc.max_connection_age_grace_ms", int(self._config.drain_grace_s * 1000)),
                # Clients ping every 30 s (mesh.channel); a server that wants less often cuts them off.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        handlers = [
            rpc.handlers(service, servicer, callers if self._files else None)
            for service, servicer, callers in self._services
        ]
        server.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)
        names = [service.full_name for service, _, _ in self._services]
        names += [health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        if self._files:
            server.add_secure_port(self._config.address, tls.server_credentials(self._files))
        else:
            server.add_insecure_port(self._config.address)
        return server

    def _make_probes(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        if self._config.health_address:
            health_pb2_grpc.add_HealthServicer_to_server(ProbeServicer(self.health), server)
            server.add_insecure_port(self._config.health_address)
        return server

    async def _supervise(self, name: str, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        backoff = Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S)
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await task()
                return
            except Exception:
                if asyncio.get_running_loop().time() - started > _MAX_BACKOFF_S:
                    backoff.reset()
                pause_s = backoff.pause_s()
                metrics.TASK_FAILURES.labels(name).inc()
                log.exception("background task %s failed; starts again in %.1f s", name, pause_s)
            await asyncio.sleep(pause_s)


def look_for_garbage_seldom() -> None:
    """Has Python look for garbage in cycles after 20,000 new objects, and never among those of the modules.

    By default it looks after 700: a batch of 500 messages is looked through several times while it lives, for
    a tenth of all that a process does with it. Most garbage is in no cycle, and freed at once as always.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


def main(name: str, entry: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a process: logs, traces, an event loop, and one sentence where the configuration is wrong."""
    try:
        logs.init(name, load(logs.LogConfig))
        tracing.init(name, load(tracing.TraceConfig))
        look_for_garbage_seldom()
        with (
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            contextlib.suppress(KeyboardInterrupt),
        ):
            runner.run(entry())
    except ConfigError as error:
        raise SystemExit(f"{name}: {error}") from None
    finally:
        tracing.shutdown()
        # librdkafka may wait for its own threads without end, spinning, where brokers went away at the
        # wrong moment. All work is done here: the kernel ends what has not ended by then.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_EXIT_S)
