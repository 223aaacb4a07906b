"""Calls to other services: no call without a deadline, and none that ends before it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from mesh import channel, identity, spans, tracing
from mesh.channel import ChannelConfig
from tests.support.waiting import eventually


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """A server whose methods say how many seconds a call has left, or take longer than any."""

    async def remaining(_request: bytes, context: Any) -> bytes:
        return str(context.time_remaining()).encode()

    async def hang(_request: bytes, _context: Any) -> bytes:
        await asyncio.sleep(3600)
        return b""

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await remaining(request, context)
        await asyncio.sleep(3600 if request else 0)

    async def headers(_request: bytes, context: Any) -> bytes:
        return json.dumps(dict(context.invocation_metadata() or ())).encode()

    server = grpc.aio.server()
    handlers = {
        "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Headers": grpc.unary_unary_rpc_method_handler(headers),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def told(opened: Any, timeout_s: float | None = None) -> set[float]:
    """The seconds that a unary call and a stream have left, as the server hears it."""
    unary = await opened.unary_unary("/test.Service/Remaining")(b"", timeout=timeout_s)
    stream = [part async for part in opened.unary_stream("/test.Service/Stream")(b"", timeout=timeout_s)]
    return {float(each) for each in (unary, *stream)}


def granted(seconds: float, found: set[float]) -> bool:
    """Whether the server heard of this deadline; gRPC rounds it up on the wire, and some of it is used."""
    return all(seconds / 2 < left <= seconds * 1.05 for left in found)


async def ended(opened: Any, timeout_s: float | None = None) -> set[grpc.StatusCode]:
    """How a unary call and a stream end whose server hangs."""
    with pytest.raises(grpc.aio.AioRpcError) as unary:
        await opened.unary_unary("/test.Service/Hang")(b"", timeout=timeout_s)
    with pytest.raises(grpc.aio.AioRpcError) as stream:
        _ = [part async for part in opened.unary_stream("/test.Service/Stream")(b"x", timeout=timeout_s)]
    return {unary.value.code(), stream.value.code()}


@pytest.mark.parametrize("timeout_s", [20, 60])
async def test_a_call_without_a_deadline_gets_the_default_and_all_of_it(
    target: str, timeout_s: float
) -> None:
    async with channel.connect(target, ChannelConfig(timeout_s=timeout_s)) as opened:
        assert granted(timeout_s, await told(opened))


async def test_a_call_ends_at_its_deadline_and_not_before(target: str) -> None:
    async with channel.connect(target, ChannelConfig(timeout_s=0.5)) as opened:
        began = time.monotonic()
        assert await ended(opened) == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert time.monotonic() - began >= 2 * 0.5 * 0.95


@pytest.mark.parametrize(("default_s", "own_s"), [(10, 60), (60, 10)])
async def test_a_call_may_set_a_deadline_of_its_own(target: str, default_s: float, own_s: float) -> None:
    async with channel.connect(target, ChannelConfig(timeout_s=default_s)) as opened:
        assert granted(own_s, await told(opened, own_s))


@pytest.mark.parametrize("own_s", [None, 60])
async def test_a_call_made_for_another_has_no_more_time_than_that(target: str, own_s: float | None) -> None:
    identity.enter(identity.Call((), time_remaining=lambda: 20.0))
    async with channel.connect(target, ChannelConfig(timeout_s=60)) as opened:
        assert granted(20, await told(opened, own_s))
    end = time.monotonic() + 0.3
    identity.enter(identity.Call((), time_remaining=lambda: max(0.0, end - time.monotonic())))
    async with channel.connect(target, ChannelConfig(timeout_s=3000)) as opened:
        assert await ended(opened, own_s) == {grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_a_call_made_for_a_patient_one_keeps_its_own_deadline(target: str) -> None:
    identity.enter(identity.Call((), time_remaining=lambda: 60.0))
    async with channel.connect(target, ChannelConfig(timeout_s=10)) as opened:
        assert granted(10, await told(opened))


async def test_the_other_side_is_below_the_calls_own_span(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    call = identity.Call((("traceparent", f"00-{trace}-00f067aa0ba902b7-01"), ("x-request-id", "mine")))
    identity.enter(call)
    rpc = spans.begin_rpc("test.Caller/Ask", call)
    assert rpc is not None
    async with channel.connect(target, ChannelConfig()) as opened:
        given = json.loads(await opened.unary_unary("/test.Service/Headers")(b""))
        with pytest.raises(grpc.aio.AioRpcError):
            await opened.unary_unary("/test.Service/Nothing")(b"")
    spans.end_rpc(rpc, "test.Caller/Ask", call, grpc.StatusCode.OK, 0.1, unary=True)
    asked, failed, own = kept.get_finished_spans()
    assert given["traceparent"] == f"00-{trace}-{asked.context.span_id:016x}-01"
    assert given["x-request-id"] == "mine"
    for below in (asked, failed):
        assert below.parent is not None
        assert below.parent.span_id == own.context.span_id
    assert (asked.name, asked.status.is_ok) == ("test.Service/Headers", True)
    assert (failed.name, failed.status.is_ok) == ("test.Service/Nothing", False)


async def test_calls_to_others_are_counted_by_how_they_end(target: str) -> None:
    def count(method: str, code: str) -> float:
        labels = {"grpc_service": "test.Service", "grpc_method": method, "grpc_code": code}
        return REGISTRY.get_sample_value("grpc_client_handled_total", labels) or 0.0

    identity.enter(identity.Call(()))
    async with channel.connect(target, ChannelConfig(timeout_s=0.2)) as opened:
        names = [
            ("Remaining", "OK"),
            ("Hang", "DeadlineExceeded"),
            ("Stream", "OK"),
            ("Nothing", "Unimplemented"),
        ]
        before = [count(*name) for name in names]
        await told(opened, 20)
        await ended(opened)
        with pytest.raises(grpc.aio.AioRpcError):
            await opened.unary_unary("/test.Service/Nothing")(b"")
        cancelled = count("Hang", "Canceled")
        left = opened.unary_unary("/test.Service/Hang")(b"", timeout=60)
        await asyncio.sleep(0)
        left.cancel()
        await eventually(lambda: count("Hang", "Canceled") == cancelled + 1)
    assert [count(*name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 1, 1]
