"""How Marquee is called: deadlines, retries, and what keeps a connection alive."""

import json
from dataclasses import dataclass
from typing import Any, Final

import grpc

STREAM_S: Final = 900.0
"""How long one stream may last, in seconds. The edge ends them sooner."""

_STREAMS: Final = ("WatchScore", "ExportRatings", "ImportRatings")
_SERVICES: Final = (
    "marquee.movies.v1.MovieService",
    "marquee.ratings.v1.RatingService",
    "marquee.rankings.v1.RankingService",
)


@dataclass(frozen=True)
class ClientSettings:
    """What a client may be told."""

    timeout_s: float = 10.0
    """How long a call may take, its retries included, in seconds."""
    batch_timeout_s: float = 30.0
    """The same of calls for many films or ratings at once."""
    attempts: int = 4
    """How often a call is tried while Marquee can't be reached, 1 to 5; 1: no retries."""
    reconnect_s: float = 0.5
    """How long a stream that was cut waits before it asks again, in seconds; twice as long each time, up to a
    minute."""
    page_size: int = 100
    """How many lines a list asks for at a time."""
    max_message_bytes: int = 16 * 1024 * 1024
    """The largest answer that is taken."""


def channel_options(settings: ClientSettings) -> list[tuple[str, Any]]:
    """gRPC's options for these settings."""
    return [
        ("grpc.service_config", json.dumps(service_config(settings))),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3_000),
    ]


def service_config(settings: ClientSettings) -> dict[str, Any]:
    """The gRPC service config: retries with backoff, and a bucket that ends them when most calls fail.

    See https://github.com/grpc/grpc/blob/master/doc/service_config.md. Deadlines don't stand in it: grpcio
    ends calls up to a second too early by those (https://github.com/grpc/grpc/issues/34547).
    """
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
    if settings.attempts > 1:
        # Streams are not tried again by gRPC: what comes of them would come twice.
        streams = {"name": [{"service": _service(name), "method": name} for name in _STREAMS]}
        others = {
            "name": [{"service": service} for service in _SERVICES],
            "retryPolicy": {
                "maxAttempts": settings.attempts,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
        config["methodConfig"] = [streams, others]
    return config


def _service(stream: str) -> str:
    return _SERVICES[2] if stream == "WatchScore" else _SERVICES[1]


def lost(failed: grpc.RpcError) -> bool:
    """Whether a stream was cut by what passes, and may be asked for again."""
    return failed.code() in _PASSES


def pause_s(settings: ClientSettings, failures: int) -> float:
    """How long to wait before a stream is asked for again, after so many failures in a row, in seconds."""
    return min(settings.reconnect_s * 2.0 ** max(0, failures - 1), _LONGEST_PAUSE_S)


_LONGEST_PAUSE_S: Final = 60.0
_PASSES: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,  # how a stream that was cut in the middle ends
    grpc.StatusCode.CANCELLED,
)
