"""Traces: OpenTelemetry spans of what the edge sampled, and of what failed or was slow besides.

The edge decides (`edge.tracing`): each call has a `traceparent` of its own making, and its last bit says
whether the call is sampled. What is not costs one look at that header, and one at a context variable for
each call to a store; stacked auto-instrumentation costs some 200 CPU-µs for the same. A call that was not
sampled and failed, or was slow, has a span made of it when it ends.
"""

import importlib.metadata
import logging
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from mesh import clock, identity
from mesh.config import setting
from mesh.span_log import SpanLog

NAMESPACE: Final = "marquee"

_SHAPE: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""https://www.w3.org/TR/trace-context/#traceparent-header-field-values"""
_ODD: Final = frozenset("13579bdf")
_EXPORT_S: Final = 2.0
_LIMITS: Final = SpanLimits(max_attributes=32, max_events=8, max_links=64, max_attribute_length=1000)
# While a store is away every call fails: some of them tell enough.
_UNSAMPLED_GAP_S: Final = 0.1

_tracer: trace.Tracer | None = None
_provider: TracerProvider | None = None
_slow_s = float("inf")
_next_unsampled = 0.0
_span: ContextVar[Span | None] = ContextVar("span", default=None)


@dataclass(frozen=True)
class TraceConfig:
    """Where spans go."""

    endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "the OTLP/gRPC collector, such as http://jaeger:4317; empty writes no spans",
    )
    slow_s: float = setting(
        "MARQUEE_TRACE_SLOW_S",
        1.0,
        "from how many seconds on a unary call has a span though it was not sampled; so has one that failed",
        low=0.001,
    )


class Ids(NamedTuple):
    """By which a line of a log is found from a trace."""

    trace_id: str
    span_id: str


def init(service: str, config: TraceConfig) -> None:
    """Starts the exporter of this process, if a collector is configured."""
    global _tracer, _provider, _slow_s
    if not config.endpoint:
        return
    # A collector that is away would be told of with every portion; `marquee status` tells it too.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(endpoint=config.endpoint, insecure=True, timeout=_EXPORT_S)
    _provider = TracerProvider(ALWAYS_ON, resource(service), shutdown_on_exit=False, span_limits=_LIMITS)
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    _provider.add_span_processor(SpanLog())
    _tracer, _slow_s = _provider.get_tracer(NAMESPACE), config.slow_s


def resource(service: str) -> Resource:
    """Who a span is of: a process by its name in the table of services, such as `rating_svc-worker`."""
    return Resource.create(
        {
            "service.name": service,
            "service.namespace": NAMESPACE,
            "service.version": importlib.metadata.version("marquee-mesh"),
        }
    )


def shutdown() -> None:
    """Sends what is left, within some seconds."""
    if _provider is not None:
        _provider.shutdown()


def enabled() -> bool:
    """Whether this process writes spans at all."""
    return _tracer is not None


def is_sampled(traceparent: str) -> bool:
    """Whether the one who sent this header writes spans (W3C trace flags, bit 0)."""
    return traceparent[-1:] in _ODD and len(traceparent) == 55


def current() -> Span | None:
    """The span under way in this task; None where nothing is sampled."""
    span = _span.get()
    # A task that outlives the call it began in must not go on telling of it.
    return span if span is not None and span.is_recording() else None


def ids() -> Ids | None:
    """Trace id and span id of what is under way, in hexadecimal, sampled or not; None outside of any call."""
    span = current()
    if span is not None:
        return ids_of(span)
    header = identity.call().header(identity.TRACEPARENT_HEADER)
    found = _SHAPE.fullmatch(header) if header else None
    return Ids(found[1], found[2]) if found else None


def ids_of(span: Span) -> Ids:
    """Those of a span."""
    context = span.get_span_context()
    return Ids(f"{context.trace_id:032x}", f"{context.span_id:016x}")


def traceparent() -> str:
    """What a call or a message that is sent now carries, so that what follows is part of this trace."""
    span = current()
    return identity.call().header(identity.TRACEPARENT_HEADER) if span is None else traceparent_of(span)


def traceparent_of(span: Span) -> str:
    """The header that makes a span the parent of what follows."""
    return "00-{}-{}-01".format(*ids_of(span))


def exemplar(span: Span) -> dict[str, str]:
    """What leads from a measurement to the trace of a call that it is of."""
    return ids_of(span)._asdict()


def link(traceparent: str) -> Link | None:
    """A link to another's span, if the header is one."""
    found = _remote(traceparent)
    return None if found is None else Link(found)


class Within:
    """A span for as long as a block lasts; what the block calls becomes part of it."""

    __slots__ = ("_answers", "_before", "span")

    def __init__(self, span: Span, answers: tuple[type[Exception], ...] = ()) -> None:
        """`answers` are exceptions that are no failure: the one who asked goes on with them."""
        self.span = span
        self._answers = answers
        self._before: Span | None = None

    def __enter__(self) -> Span:
        self._before = _span.get()
        _span.set(self.span)
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Not reset by a token: a generator may be closed from another task.
        _span.set(self._before)
        if error is not None and not isinstance(error, self._answers):
            fail(self.span, type(error).__name__)
        self.span.end()


class _Nothing:
    """Where nothing is sampled."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


NOTHING: Final = _Nothing()


def within(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, Any] | None = None
) -> Within | _Nothing:
    """A part of what is under way, for a `with`; nothing where that is not sampled."""
    parent = current()
    return NOTHING if parent is None else Within(child(parent, name, kind, attributes))


def child(
    parent: Span, name: str, kind: SpanKind, attributes: Mapping[str, Any] | None = None, **times: Any
) -> Span:
    """Starts a span below another, for who ends it."""
    assert _tracer is not None
    return _tracer.start_span(name, _below(parent), kind, attributes, **times)


def follow(
    traceparent: str,
    name: str,
    kind: SpanKind = SpanKind.CONSUMER,
    attributes: Mapping[str, Any] | None = None,
    links: tuple[Link, ...] = (),
) -> Span | None:
    """Starts a span below another process's, for who ends it; None if that is not sampled."""
    if _tracer is None or not is_sampled(traceparent):
        return None
    remote = _remote(traceparent)
    if remote is None:
        return None
    return _tracer.start_span(name, _below(NonRecordingSpan(remote)), kind, attributes, links)


def enter(span: Span | None) -> None:
    """Makes a span the one under way in this task, for as long as it is not ended."""
    _span.set(span)


def fail(span: Span, reason: str) -> None:
    """Marks a span as failed."""
    span.set_attribute("error.type", reason)
    span.set_status(Status(StatusCode.ERROR))


def is_slow(seconds: float) -> bool:
    """Whether an unsampled call that took so long is told of."""
    return seconds >= _slow_s


def tell(traceparent: str, name: str, seconds: float, attributes: Mapping[str, Any], error: str) -> None:
    """Tells of an RPC that was not sampled and has just ended, of some a second."""
    global _next_unsampled
    remote, now = _remote(traceparent), time.monotonic()
    if _tracer is None or remote is None or now < _next_unsampled:
        return
    _next_unsampled = now + _UNSAMPLED_GAP_S
    end = clock.machine_ns()
    parent = NonRecordingSpan(SpanContext(remote.trace_id, remote.span_id, True, TraceFlags(1)))
    began = end - int(seconds * 1e9)
    span = _tracer.start_span(name, _below(parent), SpanKind.SERVER, attributes, start_time=began)
    span.set_attribute("marquee.sampled", False)
    if error:
        fail(span, error)
    span.end(end)


def note(key: str, value: str) -> None:
    """Adds an attribute to the span of the RPC under way, if it has one."""
    span = current()
    if span is not None:
        span.set_attribute(key, value)


def _below(parent: Span) -> Context:
    return trace.set_span_in_context(parent, Context())


def _remote(traceparent: str) -> SpanContext | None:
    found = _SHAPE.fullmatch(traceparent)
    if found is None:
        return None
    context = SpanContext(int(found[1], 16), int(found[2], 16), True, TraceFlags(int(found[3], 16)))
    return context if context.is_valid else None
