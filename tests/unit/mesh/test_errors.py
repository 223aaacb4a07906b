"""Errors: codes, reasons and details as google.rpc has them."""

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from mesh import errors
from mesh.errors import MarqueeError


def details(error: MarqueeError) -> dict[str, Message]:
    """The details of an error's status, by type."""
    status = errors.to_status(error)
    found: dict[str, Message] = {}
    for packed in status.details:
        made = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(made)
        found[type(made).__name__] = made
    return found


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.invalid("name", "is odd"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (errors.not_found("MOVIE_NOT_FOUND", "none"), grpc.StatusCode.NOT_FOUND, "MOVIE_NOT_FOUND"),
        (errors.unauthenticated("who"), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REQUIRED"),
        (errors.denied("SCOPE_REQUIRED", "no"), grpc.StatusCode.PERMISSION_DENIED, "SCOPE_REQUIRED"),
        (errors.exhausted("OVERLOADED", "full", 1), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
        (errors.unavailable("AWAY", "away", 2), grpc.StatusCode.UNAVAILABLE, "AWAY"),
        (errors.deadline_exceeded("late"), grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ],
)
def test_every_error_says_its_code_and_reason(
    error: MarqueeError, code: grpc.StatusCode, reason: str
) -> None:
    status = errors.to_status(error)
    assert status.code == code.value[0]
    assert status.message == error.message
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "marquee")


def test_a_wrong_field_is_named_with_what_is_wrong() -> None:
    bad = details(errors.invalid("page_size", "it is negative"))["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [("page_size", "it is negative")]


def test_when_to_try_again_stands_in_the_details_and_in_a_header() -> None:
    error = errors.unavailable("AWAY", "away", 1.5)
    retry = details(error)["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert dict(errors.trailers(error))["retry-after"] == "2"
    assert dict(errors.trailers(errors.unavailable("AWAY", "away", 0.01)))["retry-after"] == "1"
    assert "retry-after" not in dict(errors.trailers(errors.not_found("X", "x")))


def test_a_limit_says_which() -> None:
    quota = details(errors.exhausted("TOO_MANY_WATCHERS", "full", 1))["QuotaFailure"]
    assert isinstance(quota, error_details_pb2.QuotaFailure)
    assert quota.violations[0].subject == "too_many_watchers"


def test_metadata_is_for_programs() -> None:
    error = MarqueeError(grpc.StatusCode.ABORTED, "CONFLICT", "no", metadata={"etag": "x"})
    info = details(error)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"etag": "x"}
