"""Channels to other services: balanced, retried where that is safe, never without a deadline.

The deadline is never later than that of the RPC that the call is made for.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.trace import Span

from mesh import identity, metrics, spans, tls, tracing
from mesh.config import load, setting


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
    metrics.CALLS.export()
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


def _completed(
    details: grpc.aio.ClientCallDetails, timeout_s: float, span: Span | None
) -> grpc.aio.ClientCallDetails:
    """Adds what the RPC under way passes on: trace and request ids, and its deadline if that is sooner."""
    call = identity.call()
    patience = timeout_s if details.timeout is None else details.timeout
    remaining = call.time_remaining()
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    if trace := tracing.traceparent() if span is None else tracing.traceparent_of(span):
        metadata.add(identity.TRACEPARENT_HEADER, trace)
    if request_id := call.header(identity.REQUEST_ID_HEADER):
        metadata.add(identity.REQUEST_ID_HEADER, request_id)
    return grpc.aio.ClientCallDetails(
        details.method,
        patience if remaining is None else min(patience, remaining),
        metadata,
        details.credentials,
        details.wait_for_ready,
    )


class _Outgoing:
    """One call to another service, from its start to its end."""

    __slots__ = ("_method", "_span", "_started", "details")

    def __init__(self, details: grpc.aio.ClientCallDetails, timeout_s: float) -> None:
        method = details.method
        self._method = method.decode() if isinstance(method, bytes) else str(method)
        self._span = spans.begin_call(self._method)
        self.details = _completed(details, timeout_s, self._span)
        self._started = time.perf_counter()

    async def end(self, call: Any) -> None:
        """Waits until it has ended, and tells how."""
        code = grpc.StatusCode.CANCELLED
        try:
            code = await call.code()
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            self.ended(code)

    def ended(self, code: grpc.StatusCode) -> None:
        metrics.called(self._method, code, time.perf_counter() - self._started)
        if self._span is not None:
            spans.end_call(self._span, code)


class _Defaults:
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s


class _UnaryDefaults(_Defaults, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        outgoing = _Outgoing(client_call_details, self._timeout_s)
        call = await continuation(outgoing.details, request)
        await outgoing.end(call)
        return call


class _StreamDefaults(_Defaults, grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self._open: set[asyncio.Task[None]] = set()

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        outgoing = _Outgoing(client_call_details, self._timeout_s)
        call = await continuation(outgoing.details, request)
        # The answers are read by whoever called: its end is seen from beside.
        watching = asyncio.create_task(outgoing.end(call))
        self._open.add(watching)
        watching.add_done_callback(self._open.discard)
        return call
