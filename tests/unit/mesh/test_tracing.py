"""Which calls have spans, what those are below, and what goes on to others."""

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.status import StatusCode
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest
from redis.exceptions import NoScriptError

from mesh import identity, logs, spans, tracing
from mesh.metrics import GRPC, MethodMetrics

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
METHOD = "marquee.movies.v1.MovieService/GetMovie"


def call_with(traceparent: str, **headers: str) -> identity.Call:
    pairs = {"traceparent": traceparent, **{key.replace("_", "-"): value for key, value in headers.items()}}
    return identity.Call(tuple(pairs.items()))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(tracing, "_slow_s", 1.0)
    monkeypatch.setattr(tracing, "_next_unsampled", 0.0)
    yield kept
    tracing.enter(None)
    identity.enter(identity.Call(()))


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def test_what_a_sampled_call_asks_of_others_is_below_it(told: InMemorySpanExporter) -> None:
    call = call_with(SAMPLED)
    identity.enter(call)
    span = spans.begin_rpc(METHOD, call)
    assert span is not None
    with spans.command("GET secret-key"):
        pass
    with spans.statement("SELECT 1", "primary"):
        pass
    sent = tracing.traceparent()
    spans.end_rpc(span, METHOD, call, grpc.StatusCode.OK, 0.1, unary=True)
    redis, postgres, rpc = told.get_finished_spans()
    assert [each.name for each in (redis, postgres, rpc)] == ["redis GET", "postgresql SELECT", METHOD]
    assert parent_of(rpc) == SPAN
    assert {parent_of(redis), parent_of(postgres)} == {id_of(rpc)}
    assert sent == f"00-{TRACE}-{id_of(rpc)}-01"
    assert "secret-key" not in str(dict(redis.attributes or {}))


def test_what_is_not_sampled_has_no_span_and_its_trace_goes_on(told: InMemorySpanExporter) -> None:
    call = call_with(NOT)
    identity.enter(call)
    assert spans.begin_rpc(METHOD, call) is None
    with spans.command("GET"), spans.statement("SELECT 1", "primary"), spans.sending("topic"):
        assert tracing.traceparent() == NOT
    spans.end_rpc(None, METHOD, call, grpc.StatusCode.OK, 0.1, unary=True)
    assert not told.get_finished_spans()


@pytest.mark.parametrize(
    ("code", "seconds", "unary", "is_told"),
    [
        (grpc.StatusCode.UNAVAILABLE, 0.01, True, True),
        (grpc.StatusCode.INTERNAL, 0.01, False, True),
        (grpc.StatusCode.NOT_FOUND, 0.01, True, False),
        (grpc.StatusCode.OK, 2.0, True, True),
        (grpc.StatusCode.OK, 2.0, False, False),
    ],
)
def test_what_failed_or_was_slow_is_told_of_all_the_same(
    told: InMemorySpanExporter, code: grpc.StatusCode, seconds: float, *, unary: bool, is_told: bool
) -> None:
    call = call_with(NOT)
    spans.end_rpc(None, METHOD, call, code, seconds, unary=unary)
    found = told.get_finished_spans()
    assert bool(found) == is_told
    for span in found:
        assert parent_of(span) == SPAN
        assert span.start_time is not None
        assert span.end_time is not None
        assert (span.end_time - span.start_time) / 1e9 == pytest.approx(seconds, abs=1e-3)
        assert span.status.is_ok == (code is grpc.StatusCode.OK)


def test_of_many_that_fail_at_once_some_are_told_of(
    told: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_UNSAMPLED_GAP_S", 60.0)  # at once, however busy the machine is
    for _ in range(100):
        spans.end_rpc(None, METHOD, call_with(NOT), grpc.StatusCode.UNAVAILABLE, 0.01, unary=True)
    assert len(told.get_finished_spans()) == 1


def test_a_clients_own_trace_is_a_link_that_only_the_edge_makes(told: InMemorySpanExporter) -> None:
    theirs = f"00-{'ab' * 16}-{'cd' * 8}-01"
    vouched = identity.Call((("traceparent", SAMPLED), ("x-marquee-linked-trace", theirs)))
    not_vouched = identity.Call(
        (("traceparent", SAMPLED), ("x-marquee-linked-trace", theirs)), may_vouch=lambda: False
    )
    for call in (vouched, not_vouched):
        span = spans.begin_rpc(METHOD, call)
        assert span is not None
        span.end()
    one, other = told.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in one.links] == ["ab" * 16]
    assert not other.links


@pytest.mark.parametrize("header", ["", "nonsense", SAMPLED[:-1], f"00-{'0' * 32}-{SPAN}-01", SAMPLED + "-x"])
def test_what_is_no_traceparent_is_ignored(told: InMemorySpanExporter, header: str) -> None:
    call = call_with(header)
    assert spans.begin_rpc(METHOD, call) is None
    spans.end_rpc(None, METHOD, call, grpc.StatusCode.INTERNAL, 0.1, unary=True)
    assert not told.get_finished_spans()


@pytest.mark.parametrize(("error", "failed"), [(NoScriptError("NOSCRIPT"), False), (OSError("gone"), True)])
def test_a_script_that_redis_has_not_seen_yet_is_no_failure(
    told: InMemorySpanExporter, error: Exception, *, failed: bool
) -> None:
    call = call_with(SAMPLED)
    span = spans.begin_rpc(METHOD, call)
    assert span is not None
    with pytest.raises(type(error)), spans.command("EVALSHA"):
        raise error
    spans.end_rpc(span, METHOD, call, grpc.StatusCode.OK, 0.1, unary=True)
    command, _ = told.get_finished_spans()
    assert (command.status.status_code is StatusCode.ERROR) == failed


async def test_a_task_that_outlives_its_call_does_not_go_on_telling_of_it(
    told: InMemorySpanExporter,
) -> None:
    call = call_with(SAMPLED)
    span = spans.begin_rpc(METHOD, call)
    assert span is not None
    ended = asyncio.Event()

    async def outlive() -> None:
        await ended.wait()
        with spans.command("GET"):
            pass

    task = asyncio.create_task(outlive())
    spans.end_rpc(span, METHOD, call, grpc.StatusCode.OK, 0.1, unary=True)
    ended.set()
    await task
    assert [each.name for each in told.get_finished_spans()] == [METHOD]


@dataclass
class Message:
    traceparent: str
    partition: int = 0
    offset: int = 0


def test_a_batch_is_part_of_its_first_sampled_message_and_linked_with_the_others(
    told: InMemorySpanExporter,
) -> None:
    other = f"00-{'ab' * 16}-{'cd' * 8}-01"
    carried: dict[int, str] = {}
    messages = [Message(NOT), Message(SAMPLED), Message(""), Message(other)]
    with (
        spans.processing("topic", "reader", messages, lambda number, trace: carried.update({number: trace})),
        spans.statement("INSERT INTO outbox", "primary"),
    ):
        pass
    statement, *processed = told.get_finished_spans()
    batch, second = sorted(processed, key=parent_of)
    assert (parent_of(batch), parent_of(second)) == (SPAN, "cd" * 8)
    assert parent_of(statement) == id_of(batch)
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == ["ab" * 16]
    assert [f"{link.context.span_id:016x}" for link in second.links] == [id_of(batch)]
    assert carried == {1: f"00-{TRACE}-{id_of(batch)}-01", 3: f"00-{'ab' * 16}-{id_of(second)}-01"}
    assert (batch.attributes or {})["messaging.batch.message_count"] == 4


def test_of_a_large_batch_a_bounded_number_has_spans(told: InMemorySpanExporter) -> None:
    messages = [Message(f"00-{number:032x}-{SPAN}-01") for number in range(1, 500)]
    with spans.processing("topic", "reader", messages, lambda *_: None):
        pass
    assert len(told.get_finished_spans()) < 40


def test_an_outbox_hands_on_each_rows_own_trace(told: InMemorySpanExporter) -> None:
    with spans.forwarding("topic", ["", SAMPLED]) as carried:
        pass
    (span,) = told.get_finished_spans()
    assert carried == ["", f"00-{TRACE}-{id_of(span)}-01"]
    assert parent_of(span) == SPAN


@pytest.mark.parametrize("header", [SAMPLED, NOT])
def test_lines_of_the_log_have_the_ids_of_the_span_itself(
    told: InMemorySpanExporter, capsys: pytest.CaptureFixture[str], header: str
) -> None:
    call = call_with(header)
    identity.enter(call)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.init("movie_svc", logs.LogConfig())
        span = spans.begin_rpc(METHOD, call)
        logging.getLogger("test").warning("hello")
        spans.end_rpc(span, METHOD, call, grpc.StatusCode.OK, 0.1, unary=True)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    finished = told.get_finished_spans()
    assert line["trace"]["id"] == TRACE
    assert line["span"]["id"] == (id_of(finished[0]) if header == SAMPLED else SPAN)


def test_the_latency_of_a_sampled_call_leads_to_its_trace(told: InMemorySpanExporter) -> None:
    GRPC.export()
    metrics = MethodMetrics("unary", "test.Service", "Traced")
    for header in (SAMPLED, NOT):
        span = spans.begin_rpc(METHOD, call_with(header))
        metrics.started()
        metrics.handled(grpc.StatusCode.OK, 0.003, None if span is None else tracing.exemplar(span))
    page = generate_latest(REGISTRY).decode()
    lines = [line for line in page.splitlines() if 'grpc_method="Traced"' in line and " # " in line]
    assert len(lines) == 1
    assert f'trace_id="{TRACE}"' in lines[0]
