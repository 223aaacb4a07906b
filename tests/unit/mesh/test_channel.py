"""Calls to other services: no call without a deadline, and none that ends before it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mesh import channel, identity
from mesh.channel import ChannelConfig


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

    server = grpc.aio.server()
    handlers = {
        "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
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
