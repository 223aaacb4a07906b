"""A small OTLP collector for tests, and the trees of what came to it."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Told:
    """A span as the collector has it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty of a trace's first."""
    kind: str
    attributes: dict[str, Any]
    links: list[str]
    """Trace ids of what it is linked with."""
    failed: bool
    seconds: float


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes all spans that come."""

    def __init__(self) -> None:
        self.spans: list[Told] = []
        self.resources: list[dict[str, Any]] = []
        self.port = 0

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, _context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            of = _attributes(resource.resource.attributes)
            self.resources.append(of)
            for scope in resource.scope_spans:
                self.spans.extend(_told(str(of.get("service.name", "")), span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace_id: str) -> list[Told]:
        return [span for span in self.spans if span.trace_id == trace_id]


@contextlib.asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[Collector]:
    """A collector that listens on the loopback."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


@dataclass
class Node:
    """A span with what is below it."""

    span: Told
    below: list["Node"] = field(default_factory=list)

    def lines(self, depth: int = 0) -> list[str]:
        own = f"{'  ' * depth}{self.span.service}: {self.span.name}"
        return [own, *(line for node in self.below for line in node.lines(depth + 1))]


def tree(spans: Iterable[Told]) -> list[Node]:
    """The spans that are below none of the others, with all that is below them."""
    nodes = {span.span_id: Node(span) for span in spans}
    roots = []
    for node in nodes.values():
        above = nodes.get(node.span.parent_id)
        (roots if above is None else above.below).append(node)
    return roots


def path_to(spans: Sequence[Told], service: str, name: str) -> list[str]:
    """The services and names from a trace's first span down to the first of these."""
    by_id = {span.span_id: span for span in spans}
    found = next((s for s in spans if s.service == service and s.name.startswith(name)), None)
    path: list[str] = []
    while found is not None:
        path.insert(0, f"{found.service}: {found.name}")
        found = by_id.get(found.parent_id)
    return path


def _told(service: str, span: trace_pb2.Span) -> Told:
    return Told(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        _attributes(span.attributes),
        [link.trace_id.hex() for link in span.links],
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _attributes(pairs: Iterable[common_pb2.KeyValue]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        found[pair.key] = getattr(pair.value, kind) if kind else None
    return found
