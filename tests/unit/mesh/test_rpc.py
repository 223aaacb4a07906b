"""The boundary around every handler, over a real connection."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc
from prometheus_client import REGISTRY

from mesh import errors, identity, rpc
from tests.support.errors import Details
from tests.support.waiting import eventually

SERVICE = pb.DESCRIPTOR.services_by_name["RankingService"]
SCORE = pb.GetScoreRequest(name="movies/tt0111161/score")
WATCH = pb.WatchScoreRequest(name=SCORE.name)

Behaviour = Callable[[Any, rpc.Context], Any]


class Servicer:
    """RankingService whose GetScore and WatchScore a test defines."""

    def __init__(self, unary: Behaviour | None = None, stream: Behaviour | None = None) -> None:
        self.GetScore = unary
        self.WatchScore = stream

    async def ListTopRated(self, request: Any, context: rpc.Context) -> pb.ListTopRatedResponse:
        return pb.ListTopRatedResponse()

    ListMostVoted = ListBoxOffice = ListTrending = ListTopRated


@asynccontextmanager
async def serving(
    unary: Behaviour | None = None, stream: Behaviour | None = None, deadline_s: float = 10.0
) -> AsyncIterator[grpc.aio.Channel]:
    async def nothing(request: Any, context: rpc.Context) -> pb.Score:
        return pb.Score()

    server = grpc.aio.server()
    servicer = Servicer(unary or nothing, stream or nothing)
    server.add_generic_rpc_handlers([rpc.handlers(SERVICE, servicer, default_deadline_s=deadline_s)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def failure(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """(code, reason, message) of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code(), Details(error).reason, error.details() or ""


def handled(code: str, method: str = "GetScore") -> float:
    labels = {
        "grpc_type": "unary" if method == "GetScore" else "server_stream",
        "grpc_service": SERVICE.full_name,
        "grpc_method": method,
        "grpc_code": code,
    }
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0


async def test_messages_and_ready_bytes_both_arrive() -> None:
    score = pb.Score(name=SCORE.name, votes=3)

    async def message(request: pb.GetScoreRequest, context: rpc.Context) -> pb.Score:
        assert request == SCORE
        return score

    async def ready(request: pb.GetScoreRequest, context: rpc.Context) -> bytes:
        return score.SerializeToString()

    for unary in (message, ready):
        async with serving(unary) as channel:
            assert await rankings_pb2_grpc.RankingServiceStub(channel).GetScore(SCORE) == score


async def test_a_stream_of_both() -> None:
    async def stream(request: Any, context: rpc.Context) -> AsyncIterator[pb.Score | bytes]:
        yield pb.Score(votes=1)
        yield pb.Score(votes=2).SerializeToString()

    async with serving(stream=stream) as channel:
        call = rankings_pb2_grpc.RankingServiceStub(channel).WatchScore(WATCH)
        assert [score.votes async for score in call] == [1, 2]


async def test_an_error_arrives_with_its_code_reason_and_details() -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise errors.invalid("name", "it is odd", "ODD_NAME")

    before = handled("InvalidArgument")
    async with serving(unary) as channel:
        found = await failure(rankings_pb2_grpc.RankingServiceStub(channel).GetScore(SCORE))
    assert found == (grpc.StatusCode.INVALID_ARGUMENT, "ODD_NAME", "name: it is odd")
    # Counted when the answer is on its way, not before it arrives.
    await eventually(lambda: handled("InvalidArgument") == before + 1)


async def test_an_error_in_the_middle_of_a_stream_arrives_after_what_came_before() -> None:
    async def stream(request: Any, context: rpc.Context) -> AsyncIterator[pb.Score]:
        yield pb.Score(votes=1)
        raise errors.unavailable("AWAY", "gone", 1)

    async with serving(stream=stream) as channel:
        call = rankings_pb2_grpc.RankingServiceStub(channel).WatchScore(WATCH)
        assert (await call.read()).votes == 1  # type: ignore[attr-defined]
        assert (await failure(call.read()))[1] == "AWAY"


async def test_a_bug_is_internal_says_nothing_of_itself_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise RuntimeError("the password is hunter2")

    with caplog.at_level(logging.ERROR, "mesh.rpc"):
        async with serving(unary) as channel:
            code, reason, message = await failure(
                rankings_pb2_grpc.RankingServiceStub(channel).GetScore(SCORE)
            )
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in message
    assert any(record.exc_info and "hunter2" in str(record.exc_info[1]) for record in caplog.records)


@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_a_timeout_below_is_a_bug_and_not_the_callers_deadline(timeout: float | None) -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise TimeoutError("of something below")

    before = handled("Internal")
    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        code, reason, _ = await failure(stub.GetScore(SCORE, timeout=timeout))
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert handled("Internal") == before + 1


async def test_a_stray_cancellation_from_below_does_not_hang_the_client() -> None:
    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise asyncio.CancelledError

    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        assert (await failure(stub.GetScore(SCORE, timeout=5)))[0] is grpc.StatusCode.INTERNAL


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
        assert (await failure(stub.GetScore(SCORE, timeout=0.1)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await ended.wait()
        await asyncio.sleep(0)
    assert handled("Canceled") == before + 1


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
            async with asyncio.timeout(5):
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

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([rpc.handlers(service, Imports())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        before = ended("Canceled")
        call = ratings_pb2_grpc.RatingServiceStub(channel).ImportRatings(requests())
        async with asyncio.timeout(5):
            await arrived.wait()
        call.cancel()
        await eventually(lambda: ended("Canceled") == before + 1)
    await server.stop(0)
    assert not taken


async def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    async with serving() as channel:
        raw = channel.unary_unary(f"/{SERVICE.full_name}/GetScore")
        code, reason, _ = await failure(raw(b"\xff\xff\xff"))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


async def test_a_request_that_breaks_a_rule_does_not_reach_its_handler() -> None:
    """Whatever the RPC: nobody has to remember it."""

    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        raise AssertionError

    async def stream(request: Any, context: rpc.Context) -> AsyncIterator[pb.Score]:
        raise AssertionError
        yield

    before = handled("InvalidArgument")
    async with serving(unary, stream) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        refused = (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_SCORE_NAME",
            "name: 'x' is not a score's name, such as movies/tt0111161/score",
        )
        assert await failure(stub.GetScore(pb.GetScoreRequest(name="x"))) == refused
        assert await failure(stub.WatchScore(pb.WatchScoreRequest(name="x")).read()) == refused
        assert (await failure(stub.ListTopRated(pb.ListTopRatedRequest(min_votes=-1))))[2][:9] == "min_votes"
    # Counted when the answer is on its way, not before it arrives.
    await eventually(lambda: handled("InvalidArgument") == before + 1)


async def test_who_asks_is_known_in_the_handler_and_only_there() -> None:
    seen: list[identity.Identity | None] = []

    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        seen.append(identity.current())
        return pb.Score()

    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        await stub.GetScore(
            SCORE,
            metadata=(("x-marquee-subject", "ann"), ("x-marquee-scopes", "ratings.write marquee.admin")),
        )
        await stub.GetScore(SCORE)
    assert seen == [identity.Identity("ann", frozenset({"ratings.write", "marquee.admin"})), None]
    assert identity.current() is None


async def test_a_scope_is_required_of_a_known_user_and_its_use_is_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, identity.AUDIT)

    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        identity.require("marquee.admin")
        return pb.Score(votes=1)

    async def asked(**headers: str) -> tuple[grpc.StatusCode, str]:
        metadata = tuple((f"x-marquee-{name}", value) for name, value in headers.items())
        return (await failure(stub.GetScore(SCORE, metadata=metadata)))[:2]

    async with serving(unary) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        assert await asked() == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REQUIRED")
        assert await asked(subject="ann") == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_REQUIRED")
        assert await asked(subject="a b") == (grpc.StatusCode.PERMISSION_DENIED, "SUBJECT_NOT_ALLOWED")
        assert not [each for each in caplog.records if each.name == identity.AUDIT]
        metadata = (("x-marquee-subject", "ann"), ("x-marquee-scopes", "marquee.admin"))
        assert (await stub.GetScore(SCORE, metadata=metadata)).votes == 1
    (noted,) = [each for each in caplog.records if each.name == identity.AUDIT]
    assert noted.getMessage() == "ann may use marquee.admin"


def test_a_servicer_without_a_method_is_refused_at_start() -> None:
    with pytest.raises(TypeError, match="has no method GetScore"):
        rpc.handlers(SERVICE, object())


async def test_in_flight_falls_back_to_zero() -> None:
    before = REGISTRY.get_sample_value("grpc_server_in_flight")

    async def unary(request: Any, context: rpc.Context) -> pb.Score:
        assert REGISTRY.get_sample_value("grpc_server_in_flight") == (before or 0) + 1
        raise errors.not_found("X", "x")

    async with serving(unary) as channel:
        await failure(rankings_pb2_grpc.RankingServiceStub(channel).GetScore(SCORE))
    assert REGISTRY.get_sample_value("grpc_server_in_flight") == before
