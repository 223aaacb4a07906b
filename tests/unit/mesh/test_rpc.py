"""The boundary around every handler, over a real connection."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc
from prometheus_client import REGISTRY

from mesh import errors, identity, rpc
from tests.support.rpc import SCORE, SERVICE, WATCH, failure, handled, serving
from tests.support.waiting import eventually


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
    # Counted when the answer is on its way, not before it arrives.
    await eventually(lambda: REGISTRY.get_sample_value("grpc_server_in_flight") == before)
