"""Metrics: groups of those that a process exports, and what every gRPC server counts.

The names of the latter are those of go-grpc-prometheus, which dashboards and
alerts know. Label children are bound once a method: finding one by its labels at
each call costs four times as much as moving it.
"""

import importlib.metadata
import platform
from typing import Final

import grpc
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# One more series for each counter, which nothing here reads: a third of all.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Group(CollectorRegistry):
    """Metrics that only some processes have: those that do `export` it.

    What a process never moves it must not export: a 0 would say that nothing happens.
    """

    def __init__(self) -> None:
        super().__init__(auto_describe=True)
        self._exported = False

    def export(self) -> None:
        """Lets this process export the group, from now on. May be called more than once."""
        if not self._exported:
            REGISTRY.register(self)
            self._exported = True


BUILD: Final = Gauge(
    "marquee_build_info",
    "Always 1; the labels say which release this process is. Two versions for long: a roll-out hangs.",
    ("service", "version", "python"),
)

GRPC: Final = Group()
"""Of each process that serves gRPC."""

STARTED: Final = Counter(
    "grpc_server_started_total",
    "RPCs that arrived. Falls to zero: nobody reaches this process.",
    ("grpc_type", "grpc_service", "grpc_method"),
    registry=GRPC,
)
HANDLED: Final = Counter(
    "grpc_server_handled_total",
    "RPCs that ended, by code. Internal above zero is a bug: look for the same method in the logs. Canceled: "
    "the caller had left, or its deadline had passed.",
    ("grpc_type", "grpc_service", "grpc_method", "grpc_code"),
    registry=GRPC,
)
SECONDS: Final = Histogram(
    "grpc_server_handling_seconds",
    "How long RPCs took in this process, in seconds; of streams, until their end.",
    ("grpc_type", "grpc_service", "grpc_method"),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=GRPC,
)
IN_FLIGHT: Final = Gauge(
    "grpc_server_in_flight",
    "RPCs under way, streams among them. Climbs without falling: something downstream hangs.",
    registry=GRPC,
)
DEPENDENCY_UP: Final = Gauge(
    "marquee_dependency_up",
    "1 if the last probe of a dependency succeeded, 0 if not.",
    ("dependency",),
    registry=GRPC,
)
TASK_FAILURES: Final = Counter(
    "marquee_background_failures_total",
    "Background tasks that ended with an exception and were started again. Steady growth: see the logs.",
    ("task",),
    registry=GRPC,
)

CALLS: Final = Group()
"""Of each process that calls other services."""

CALLED: Final = Counter(
    "grpc_client_handled_total",
    "RPCs to other services that ended, by code, as this process saw it. More Unavailable or "
    "DeadlineExceeded than the other side counts: it never got them; look at the "
    "network, and at what it is busy with.",
    ("grpc_service", "grpc_method", "grpc_code"),
    registry=CALLS,
)
CALL_SECONDS: Final = Histogram(
    "grpc_client_handling_seconds",
    "How long RPCs to other services took, retries and the wait for a connection included, in seconds. Far "
    "over grpc_server_handling_seconds of the other side: connections, or this process is busy.",
    ("grpc_service", "grpc_method"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=CALLS,
)


def called(method: str, code: grpc.StatusCode, seconds: float) -> None:
    """Counts an RPC to another service, such as `/marquee.movies.v1.MovieService/GetMovie`."""
    service, _, name = method.lstrip("/").partition("/")
    CALLED.labels(service, name, label(code)).inc()
    CALL_SECONDS.labels(service, name).observe(seconds)


class MethodMetrics:
    """The bound metrics of one RPC method."""

    __slots__ = ("_handled", "_labels", "_ok", "_seconds", "_started")

    def __init__(self, kind: str, service: str, method: str) -> None:
        self._labels = (kind, service, method)
        self._started = STARTED.labels(*self._labels)
        self._seconds = SECONDS.labels(*self._labels)
        self._ok = HANDLED.labels(*self._labels, "OK")
        self._handled: dict[str, Counter] = {}

    def started(self) -> None:
        self._started.inc()
        IN_FLIGHT.inc()

    def handled(self, code: grpc.StatusCode, seconds: float, exemplar: dict[str, str] | None = None) -> None:
        """`exemplar` leads to the trace of a call that has one."""
        IN_FLIGHT.dec()
        self._seconds.observe(seconds, exemplar)
        if code is grpc.StatusCode.OK:
            self._ok.inc()
            return
        child = self._handled.get(code.name)
        if child is None:
            child = self._handled[code.name] = HANDLED.labels(*self._labels, label(code))
        child.inc()


def label(code: grpc.StatusCode) -> str:
    """`INVALID_ARGUMENT` → `InvalidArgument`, as go-grpc-prometheus has it, with Go's one L in `Canceled`."""
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")


def tell_build(service: str) -> None:
    """Exports which release this process is."""
    version = importlib.metadata.version("marquee-mesh")
    BUILD.labels(service, version, platform.python_version()).set(1)
