"""What can go wrong, as types: made from the `google.rpc` details that Marquee's errors carry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """One field of the request, by its path in the message, and what is wrong with it."""

    field: str
    description: str


class MarqueeError(Exception):
    """A call that failed.

    Attributes:
        code: the gRPC status code.
        reason: UPPER_SNAKE and stable, such as `MOVIE_NOT_FOUND`; empty where Marquee was not reached.
        message: one sentence for people.
        violations: which fields are wrong, of an InvalidRequestError.
        retry_after: after how many seconds to try again, where that may help.
        metadata: more for programs, such as the limit that was reached.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})


class InvalidRequestError(MarqueeError):
    """The request is wrong; see `violations`."""


class NotFoundError(MarqueeError):
    """There is no such film or rating."""


class SignInError(MarqueeError):
    """There is no token, or one that is not accepted."""


class NotAllowedError(MarqueeError):
    """The token's owner may not do this."""


class RateLimitedError(MarqueeError):
    """That was more than one client may ask for; see `retry_after`."""


class UnavailableError(MarqueeError):
    """Marquee, or what it needs for this call, can't be reached; see `retry_after`."""


class DeadlineError(MarqueeError):
    """The answer did not come in time."""


_TYPES: Final[Mapping[grpc.StatusCode, type[MarqueeError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: SignInError,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimitedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
}


def no_token() -> SignInError:
    """The error of a call that needs a token, where the client has none."""
    return SignInError(
        grpc.StatusCode.UNAUTHENTICATED, "this call needs a token: give the client one", "TOKEN_REQUIRED"
    )


def error_of(failed: grpc.RpcError) -> MarqueeError:
    """The error that a failed call stands for."""
    code: grpc.StatusCode = failed.code()
    message = failed.details() or code.name
    info, violations, retry_after = error_details_pb2.ErrorInfo(), list[Violation](), None
    for detail in _details(failed):
        if detail.Unpack(info):
            continue
        wrong, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(wrong):
            violations += [Violation(each.field, each.description) for each in wrong.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    kind = _TYPES.get(code, MarqueeError)
    return kind(code, message, info.reason, violations, retry_after, info.metadata)


def _details(failed: grpc.RpcError) -> Sequence[any_pb2.Any]:
    status = status_pb2.Status()
    trailers: Iterable[tuple[str, Any]] = failed.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in trailers:
        if key == _DETAILS_KEY:
            status.ParseFromString(value)
    return list(status.details)
