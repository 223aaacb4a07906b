"""Channels to other services: balanced, retried where that is safe, never without a deadline.

The deadline is never later than that of the RPC that the call is made for.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from mesh import identity, tls
from mesh.config import load, setting

_PASSED_ON: Final = (identity.TRACEPARENT_HEADER, identity.REQUEST_ID_HEADER)


@dataclass(frozen=True)
class ChannelConfig:
    """How other services are called."""

    timeout_s: float = setting(
        "MARQUEE_CALL_TIMEOUT_S",
        2.0,
        "how long a call to another service may take by default, in seconds",
        low=0.01,
    )
    attempts: int = setting(
        "MARQUEE_CALL_ATTEMPTS", 3, "how often a call is tried while the other side is away", low=1, high=5
    )
    max_message_bytes: int = setting(
        "MARQUEE_MAX_ANSWER_BYTES", 16 * 1024 * 1024, "largest answer taken, in bytes", low=1024
    )


def service_config(config: ChannelConfig) -> str:
    """The gRPC service config: round robin over all addresses, retries with backoff, a token bucket
    that ends retries when most calls fail. The default deadline does not stand in it: grpcio ends
    calls up to a second too early by it (https://github.com/grpc/grpc/issues/34547).

    See https://github.com/grpc/grpc/blob/master/doc/service_config.md. Services
    call one another only to read, so that a retry is always safe.
    """
    method: dict[str, Any] = {"name": [{}]}
    if config.attempts > 1:
        method["retryPolicy"] = {
            "maxAttempts": config.attempts,
            "initialBackoff": "0.05s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [method],
            "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
            "healthCheckConfig": {"serviceName": ""},
        }
    )


def connect(
    target: str, config: ChannelConfig, *, service: str = "", certificate: tls.TlsConfig | None = None
) -> grpc.aio.Channel:
    """Opens a channel; connects at the first call.

    Args:
        target: a gRPC name, such as `dns:///movie-svc:50051`: of a headless
            Kubernetes service it resolves to all pods.
        service: whose certificate the other side must show, such as `movie_svc`.
        certificate: this process's own; what the environment says, if not given.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", service_config(config)),
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3_000),
    ]
    interceptors: list[grpc.aio.ClientInterceptor] = [
        _UnaryDefaults(config.timeout_s),
        _StreamDefaults(config.timeout_s),
    ]
    certificate = certificate or load(tls.TlsConfig)
    if not certificate.enabled:
        return grpc.aio.insecure_channel(target, options, interceptors=interceptors)
    if service:
        options.append(("grpc.ssl_target_name_override", tls.host_name(service)))

    def make(identity: tls.Certificate) -> grpc.aio.Channel:
        credentials = tls.channel_credentials(identity)
        return grpc.aio.secure_channel(target, credentials, options, interceptors=interceptors)

    return tls.RotatingChannel(tls.Files(certificate), make)


def _completed(details: grpc.aio.ClientCallDetails, timeout_s: float) -> grpc.aio.ClientCallDetails:
    """Adds what the RPC under way passes on: trace and request ids, and its deadline if that is sooner."""
    call = identity.call()
    patience = timeout_s if details.timeout is None else details.timeout
    remaining = call.time_remaining()
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    for key in _PASSED_ON:
        if value := call.header(key):
            metadata.add(key, value)
    return grpc.aio.ClientCallDetails(
        details.method,
        patience if remaining is None else min(patience, remaining),
        metadata,
        details.credentials,
        details.wait_for_ready,
    )


class _Defaults:
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s


class _UnaryDefaults(_Defaults, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_completed(client_call_details, self._timeout_s), request)


class _StreamDefaults(_Defaults, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_completed(client_call_details, self._timeout_s), request)
