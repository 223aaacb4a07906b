"""Errors as the API shows them: one class, one table, one way out.

Raise a `MarqueeError` anywhere below a handler; `mesh.rpc` turns it into a gRPC
status with `google.rpc` details (https://google.aip.dev/193).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN: Final = "marquee"
DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """One field of the request, by its path in the message, and what is wrong with it."""

    field: str
    description: str
    reason: str = "INVALID_ARGUMENT"


class MarqueeError(Exception):
    """What went wrong, for the caller.

    Attributes:
        code: the gRPC status code.
        reason: UPPER_SNAKE, stable, for programs.
        message: one sentence for people.
        violations: which fields are wrong, of an INVALID_ARGUMENT.
        retry_after: after how many seconds to try again, where that may help.
        metadata: more for programs, such as the limit that was hit.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})


def invalid(field: str, description: str, reason: str = "INVALID_ARGUMENT") -> MarqueeError:
    """A field of the request is wrong: HTTP 400."""
    return MarqueeError(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason,
        f"{field}: {description}",
        violations=[FieldViolation(field, description, reason)],
    )


def not_found(reason: str, message: str) -> MarqueeError:
    """It does not exist: HTTP 404."""
    return MarqueeError(grpc.StatusCode.NOT_FOUND, reason, message)


def unauthenticated(message: str) -> MarqueeError:
    """Nobody knows who is asking: HTTP 401."""
    return MarqueeError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REQUIRED", message)


def denied(reason: str, message: str) -> MarqueeError:
    """Who is asking may not: HTTP 403."""
    return MarqueeError(grpc.StatusCode.PERMISSION_DENIED, reason, message)


def exhausted(reason: str, message: str, retry_after: float) -> MarqueeError:
    """Too much at once: HTTP 429. `retry_after` in seconds."""
    return MarqueeError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, retry_after=retry_after)


def unavailable(reason: str, message: str, retry_after: float) -> MarqueeError:
    """Something it needs is away for now: HTTP 503. `retry_after` in seconds."""
    return MarqueeError(grpc.StatusCode.UNAVAILABLE, reason, message, retry_after=retry_after)


def deadline_exceeded(message: str) -> MarqueeError:
    """It took longer than the caller waits: HTTP 504."""
    return MarqueeError(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message)


def to_status(error: MarqueeError) -> status_pb2.Status:
    """Makes the `google.rpc.Status` of an error, details included."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.append(_packed(info))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(
                field=violation.field, description=violation.description, reason=violation.reason
            )
        status.details.append(_packed(bad))
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=error.reason.lower(), description=error.message)
        status.details.append(_packed(quota))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


def trailers(error: MarqueeError) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that carries an error's details, and `retry-after` in whole seconds."""
    found: list[tuple[str, str | bytes]] = [(DETAILS_KEY, to_status(error).SerializeToString())]
    if error.retry_after is not None:
        found.append(("retry-after", str(max(1, math.ceil(error.retry_after)))))
    return tuple(found)


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
