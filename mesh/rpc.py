"""The one boundary around every RPC handler.

A servicer is a plain object with one async method an RPC, named like it. A
unary method takes `(request, context)` and returns a message, or the bytes of
one that is stored ready; a streaming one is an async generator. `handlers`
wraps each with deserialization, the request's rules (`mesh.rules`), identity,
metrics, trace, deadline and error mapping; a call passes through a single frame.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from marquee.rules.v1 import rules_pb2

from mesh import errors, identity, rules, spans, tls, tracing
from mesh.errors import MarqueeError
from mesh.metrics import GRPC, MethodMetrics

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

DEFAULT_DEADLINE_S: Final = 10.0
_CUT_OFF_S: Final = 0.05
"""How long after the end of a client's stream its cancellation may follow, in seconds."""
_INTERNAL: Final = "something went wrong here; the request id finds it in the logs"


def handlers(
    service: ServiceDescriptor,
    servicer: object,
    callers: Container[str] | None = None,
    default_deadline_s: float = DEFAULT_DEADLINE_S,
) -> grpc.GenericRpcHandler:
    """Makes the handlers of a service's methods.

    Args:
        service: such as `movies_pb2.DESCRIPTOR.services_by_name["MovieService"]`.
        servicer: has an async method for each RPC of the service.
        callers: which processes may call it, by the names in their certificates;
            None where there is no mTLS: then anyone may, and is believed.
        default_deadline_s: how long a unary call may take whose caller set no
            deadline, in seconds.

    Raises:
        TypeError: the servicer lacks a method.
    """
    GRPC.export()
    made: dict[str, _Method] = {}
    for method in service.methods:
        behaviour = getattr(servicer, method.name, None)
        if behaviour is None:
            raise TypeError(f"{type(servicer).__name__} has no method {method.name} of {service.full_name}")
        made[f"/{service.full_name}/{method.name}"] = _Method(method, behaviour, callers, default_deadline_s)
    return _Handlers(made)


class _Handlers(grpc.GenericRpcHandler):
    """The methods of a service, by path."""

    def __init__(self, methods: Mapping[str, "_Method"]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = self._methods.get(details.method)
        if method is None:
            return None
        return cast("grpc.RpcMethodHandler[Any, Any]", _Call(method, details.invocation_metadata))


def _serialize(response: Message | bytes) -> bytes:
    return response if type(response) is bytes else response.SerializeToString()  # type: ignore[union-attr]


class _Method:
    """One RPC method and what surrounds it."""

    def __init__(
        self,
        method: MethodDescriptor,
        behaviour: Any,
        callers: Container[str] | None,
        default_deadline_s: float,
    ) -> None:
        self.name = f"{method.containing_service.full_name}/{method.name}"
        self.behaviour = behaviour
        self.callers = callers
        request_class = message_factory.GetMessageClass(method.input_type)
        self._parse = cast(Callable[[bytes], Message], request_class.FromString)
        # A handler that refuses messages one by one checks each itself.
        apart = method.GetOptions().Extensions[rules_pb2.apart]
        self._check: rules.Check | None = None if apart else rules.checker(method.input_type)
        self._deadline_s = default_deadline_s
        self.client_streams = method.client_streaming
        self.server_streams = method.server_streaming
        self.unary = not (method.client_streaming or method.server_streaming)
        kind = {
            (False, False): "unary",
            (True, False): "client_stream",
            (False, True): "server_stream",
            (True, True): "bidi_stream",
        }[self.client_streams, self.server_streams]
        self.metrics = MethodMetrics(kind, method.containing_service.full_name, method.name)

    async def within_default(self, request: Message, context: Context) -> Message | bytes:
        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                return cast(Message | bytes, await self.behaviour(request, context))
        except TimeoutError:
            if limit.expired():
                raise self._overdue() from None
            raise

    def decode(self, raw: bytes) -> Message:
        # Done here and not by grpcio, which answers INTERNAL to bytes that are not the message.
        try:
            request = self._parse(raw)
        except DecodeError as error:
            raise MarqueeError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "MALFORMED_MESSAGE",
                f"the request's bytes are not a message of {self.name}: {error}",
            ) from None
        if self._check is not None:
            self._check(request, "")
        return request

    async def decode_all(self, raw: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for message in raw:
            yield self.decode(message)
        # The stream also ends where the caller was cut off. Then the cancellation comes, as an event of its
        # own: mostly at once, later where gRPC's thread was interrupted between the two.
        await asyncio.sleep(_CUT_OFF_S)

    def _overdue(self) -> MarqueeError:
        return errors.deadline_exceeded(
            f"{self.name} took longer than {self._deadline_s:g} s; set a deadline of your own to wait longer"
        )


class _Call:
    """One call, in the form of grpcio's RpcMethodHandler: it has the headers that grpcio made for finding it.

    The context would make them of the bytes again. Requests arrive as bytes: see `_Method.decode`.
    """

    __slots__ = ("_metadata", "_method", "request_streaming", "response_streaming")

    request_deserializer = None
    response_serializer = staticmethod(_serialize)

    def __init__(self, method: _Method, metadata: Metadata) -> None:
        self._method = method
        self._metadata = metadata
        self.request_streaming = method.client_streams
        self.response_streaming = method.server_streams

    async def unary_unary(self, raw: Any, context: Context) -> Message | bytes:
        method = self._method
        scope = _Scope(method, self._metadata, context)
        try:
            scope.admit()
            if method.client_streams:
                return cast(Message | bytes, await method.behaviour(method.decode_all(raw), context))
            request = method.decode(raw)
            if context.time_remaining() is not None:
                return cast(Message | bytes, await method.behaviour(request, context))
            return await method.within_default(request, context)
        except BaseException as error:
            await scope.fail(error)
        finally:
            scope.end()

    async def unary_stream(self, raw: Any, context: Context) -> AsyncIterator[Message | bytes]:
        method = self._method
        scope = _Scope(method, self._metadata, context)
        try:
            scope.admit()
            request = method.decode_all(raw) if method.client_streams else method.decode(raw)
            async for response in method.behaviour(request, context):
                yield response
        except BaseException as error:
            await scope.fail(error)
        finally:
            scope.end()

    stream_unary = unary_unary
    stream_stream = unary_stream


def _anybody() -> bool:
    return True


def _has_left(error: BaseException) -> bool:
    """Whether the call was cancelled before it failed: its caller is gone, or this process ends."""
    task = asyncio.current_task()
    return isinstance(error, GeneratorExit) or (task is not None and task.cancelling() > 0)


class _Scope:
    """One call, from its arrival to its end."""

    __slots__ = ("_call", "_code", "_context", "_method", "_peer", "_span", "_started")

    def __init__(self, method: _Method, metadata: Metadata, context: Context) -> None:
        self._method = method
        self._context = context
        self._code = grpc.StatusCode.OK
        self._started = time.perf_counter()
        self._peer = "" if method.callers is None else tls.peer_of(context)
        may_vouch = _anybody if method.callers is None else self._vouched
        call = identity.Call(metadata, may_vouch, context.time_remaining)
        identity.enter(call)
        self._call = call
        self._span = spans.begin_rpc(method.name, call) if tracing.enabled() else None
        method.metrics.started()

    def admit(self) -> None:
        """Refuses callers that this service is not for."""
        if self._method.callers is not None and self._peer not in self._method.callers:
            caller = self._peer or "unknown callers"
            raise errors.denied("CALLER_NOT_ALLOWED", f"{self._method.name} is not for {caller}")

    def _vouched(self) -> bool:
        return self._peer in tls.VOUCHERS

    async def fail(self, error: BaseException) -> NoReturn:
        """Ends the call with an error: as it says, or INTERNAL and a line in the log."""
        if _has_left(error):
            # Whatever was interrupted may have made another error of that: nobody waits for an answer.
            self._code = grpc.StatusCode.CANCELLED
            if isinstance(error, asyncio.CancelledError | GeneratorExit):
                raise error
            log.info("%s was interrupted, since its caller had left: %r", self._method.name, error)
            raise asyncio.CancelledError from error
        if isinstance(error, MarqueeError):
            await self._abort(error)
        if isinstance(error, grpc.aio.AbortError):
            code = self._context.code()
            self._code = code if isinstance(code, grpc.StatusCode) else _CODES[code]
            raise error
        # A CancelledError that comes from something below and not from this call's own end must not
        # leave the handler: grpcio would never answer the client.
        log.error("%s failed", self._method.name, exc_info=error)
        await self._abort(MarqueeError(grpc.StatusCode.INTERNAL, "INTERNAL", _INTERNAL))

    def end(self) -> None:
        seconds = time.perf_counter() - self._started
        exemplar = None if self._span is None else tracing.exemplar(self._span)
        self._method.metrics.handled(self._code, seconds, exemplar)
        if tracing.enabled():
            spans.end_rpc(
                self._span, self._method.name, self._call, self._code, seconds, unary=self._method.unary
            )

    async def _abort(self, error: MarqueeError) -> NoReturn:
        self._code = error.code
        await self._context.abort(error.code, error.message, errors.trailers(error))
        raise AssertionError("abort returned")


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
