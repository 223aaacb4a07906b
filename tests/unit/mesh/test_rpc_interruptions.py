"""Calls that are cut off: by a deadline, by the caller, or by what is below the handler."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc
from prometheus_client import REGISTRY

from mesh import errors, rpc
from tests.support.rpc import SCORE, failure, handled, served, serving
from tests.support.waiting import eventually


@pytest.mark.parametrize("timeout", [None, 60.0])
async def test_a_timeout_below_is_a_bug_and_not_the_callers_deadline(timeout: float | None) -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise TimeoutError("of something below")

    before = handled("Internal")
    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        code, reason, _ = await failure(stub.GetScore(SCORE, timeout=timeout))
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    # Counted when the answer is on its way, not before it arrives.
    await eventually(lambda: handled("Internal") == before + 1)


async def test_a_stray_cancellation_from_below_does_not_hang_the_client() -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise asyncio.CancelledError

    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        assert (await failure(stub.GetScore(SCORE, timeout=60)))[0] is grpc.StatusCode.INTERNAL


async def test_a_caller_without_a_deadline_gets_one() -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        await asyncio.sleep(3600)
        raise AssertionError

    async with serving(unary, deadline_s=0.05) as channel:
        code, reason, message = await failure(rankings_pb2_grpc.RankingServiceStub(channel).GetScore(SCORE))
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "0.05 s" in message


async def test_a_caller_that_goes_away_ends_its_handler() -> None:
    ended = asyncio.Event()

    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        raise AssertionError

    before = handled("Canceled")
    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        await channel.channel_ready()
        # Long enough for the call to begin, on a busy machine too.
        assert (await failure(stub.GetScore(SCORE, timeout=1.5)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(60):
            await ended.wait()
        await eventually(lambda: handled("Canceled") == before + 1)


@pytest.mark.parametrize(
    "failed", [RuntimeError("broken off"), errors.unavailable("DATABASE_UNAVAILABLE", "it is away", 1)]
)
async def test_what_an_interruption_makes_of_the_parts_below_is_no_fault_of_ours(
    failed: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    began = asyncio.Event()

    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise failed from None
        raise AssertionError

    before = {code: handled(code) for code in ("Canceled", "Internal", "Unavailable")}
    with caplog.at_level(logging.ERROR):
        async with serving(unary) as channel:
            call = rankings_pb2_grpc.RankingServiceStub(channel).GetScore(SCORE)
            async with asyncio.timeout(60):
                # A call begins when it is first awaited.
                waiting = asyncio.ensure_future(call.code())
                await began.wait()
            call.cancel()
            await waiting
            await eventually(lambda: handled("Canceled") == before["Canceled"] + 1)
    assert (handled("Internal"), handled("Unavailable")) == (before["Internal"], before["Unavailable"])
    assert not caplog.records


async def test_a_stream_of_a_caller_that_was_cut_off_is_not_taken_for_a_whole_one() -> None:
    arrived = asyncio.Event()
    taken: list[bytes] = []
    service = ratings_pb2.DESCRIPTOR.services_by_name["RatingService"]

    class Imports:
        async def ImportRatings(self, requests: Any, context: rpc.Context) -> Any:
            async for _ in requests:
                arrived.set()
            taken.append(b"all")
            return ratings_pb2.ImportRatingsResponse()

        def __getattr__(self, name: str) -> Any:
            return None if name.startswith("_") else self.ImportRatings

    async def requests() -> AsyncIterator[ratings_pb2.ImportRatingsRequest]:
        yield ratings_pb2.ImportRatingsRequest()
        await asyncio.sleep(3600)

    def ended(code: str) -> float:
        labels = {
            "grpc_type": "client_stream",
            "grpc_service": service.full_name,
            "grpc_method": "ImportRatings",
            "grpc_code": code,
        }
        return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0

    async with served(service, Imports()) as address, grpc.aio.insecure_channel(address) as channel:
        before = ended("Canceled")
        call = ratings_pb2_grpc.RatingServiceStub(channel).ImportRatings(requests())
        async with asyncio.timeout(60):
            await arrived.wait()
        call.cancel()
        await eventually(lambda: ended("Canceled") == before + 1)
    assert not taken
