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
    """A server whose method takes as many milliseconds as it is told."""

    async def sleep(request: bytes, _context: Any) -> bytes:
        await asyncio.sleep(int(request) / 1000)
        return b"slept"

    async def count(request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(int(request) / 1000)
        yield b"second"

    server = grpc.aio.server()
    handlers = {
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "Count": grpc.unary_stream_rpc_method_handler(count),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.mark.parametrize("timeout_s", [0.5, 1, 1.5])
async def test_a_call_without_a_deadline_gets_the_default_and_all_of_it(
    target: str, timeout_s: float
) -> None:
    async with channel.connect(target, ChannelConfig(timeout_s=timeout_s)) as opened:
        call = opened.unary_unary("/test.Service/Sleep")
        assert await call(b"%d" % (timeout_s * 500)) == b"slept"
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"60000")
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert timeout_s * 0.95 <= time.monotonic() - began < timeout_s + 1


async def test_a_call_may_set_a_deadline_of_its_own(target: str) -> None:
    async with channel.connect(target, ChannelConfig(timeout_s=0.2)) as opened:
        assert await opened.unary_unary("/test.Service/Sleep")(b"400", timeout=5) == b"slept"
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError):
            await opened.unary_unary("/test.Service/Sleep")(b"60000", timeout=0.1)
        assert time.monotonic() - began < 0.2 + 1


async def test_a_stream_without_a_deadline_gets_the_default(target: str) -> None:
    async with channel.connect(target, ChannelConfig(timeout_s=0.3)) as opened:
        stream = opened.unary_stream("/test.Service/Count")
        assert [part async for part in stream(b"50")] == [b"first", b"second"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [part async for part in stream(b"60000")]
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("own", [None, 5])
async def test_a_call_made_for_another_has_no_more_time_than_that(target: str, own: float | None) -> None:
    end = time.monotonic() + 0.3
    identity.enter(identity.Call((), time_remaining=lambda: max(0.0, end - time.monotonic())))
    async with channel.connect(target, ChannelConfig(timeout_s=5)) as opened:
        assert await opened.unary_unary("/test.Service/Sleep")(b"1", timeout=own) == b"slept"
        with pytest.raises(grpc.aio.AioRpcError) as unary:
            await opened.unary_unary("/test.Service/Sleep")(b"60000", timeout=own)
        with pytest.raises(grpc.aio.AioRpcError) as stream:
            _ = [part async for part in opened.unary_stream("/test.Service/Count")(b"60000", timeout=own)]
    assert time.monotonic() - end < 2
    assert unary.value.code() is stream.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_made_for_a_patient_one_keeps_its_own_deadline(target: str) -> None:
    identity.enter(identity.Call((), time_remaining=lambda: 60.0))
    async with channel.connect(target, ChannelConfig(timeout_s=0.2)) as opened:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError):
            await opened.unary_unary("/test.Service/Sleep")(b"60000")
        assert time.monotonic() - began < 2
