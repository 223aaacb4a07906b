"""The one boundary around every RPC handler.

A servicer is a plain object with one async method an RPC, named like it. A
unary method takes `(request, context)` and returns a message, or the bytes of
one that is stored ready; a streaming one is an async generator. `handlers`
wraps each with deserialization, the request's rules (`mesh.rules`), identity,
metrics, trace, deadline and error mapping, once, when the server starts; a call
passes through a single frame.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Container
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
    made: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in service.methods:
        behaviour = getattr(servicer, method.name, None)
        if behaviour is None:
            raise TypeError(f"{type(servicer).__name__} has no method {method.name} of {service.full_name}")
        made[method.name] = _Method(method, behaviour, callers, default_deadline_s).handler()
    return grpc.method_handlers_generic_handler(service.full_name, made)


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
        self._name = f"{method.containing_service.full_name}/{method.name}"
        self._behaviour = behaviour
        self._callers = callers
        request_class = message_factory.GetMessageClass(method.input_type)
        self._parse = cast(Callable[[bytes], Message], request_class.FromString)
        # A handler that refuses messages one by one checks each itself.
        apart = method.GetOptions().Extensions[rules_pb2.apart]
        self._check: rules.Check | None = None if apart else rules.checker(method.input_type)
        self._deadline_s = default_deadline_s
        self._client_streams = method.client_streaming
        self._server_streams = method.server_streaming
        kind = {
            (False, False): "unary",
            (True, False): "client_stream",
            (False, True): "server_stream",
            (True, True): "bidi_stream",
        }[self._client_streams, self._server_streams]
        self._metrics = MethodMetrics(kind, method.containing_service.full_name, method.name)

    def handler(self) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler to register. Requests arrive as bytes: see `_decode`."""
        if self._client_streams and self._server_streams:
            return grpc.stream_stream_rpc_method_handler(self._stream, None, _serialize)
        if self._client_streams:
            return grpc.stream_unary_rpc_method_handler(self._unary, None, _serialize)
        if self._server_streams:
            return grpc.unary_stream_rpc_method_handler(self._stream, None, _serialize)
        return grpc.unary_unary_rpc_method_handler(self._unary, None, _serialize)

    async def _unary(self, raw: Any, context: Context) -> Message | bytes:
        scope = _Scope(self._name, self._metrics, context, self._callers, unary=not self._client_streams)
        try:
            scope.admit()
            if self._client_streams:
                return cast(Message | bytes, await self._behaviour(self._decode_all(raw), context))
            request = self._decode(raw)
            if context.time_remaining() is not None:
                return cast(Message | bytes, await self._behaviour(request, context))
            return await self._within_default(request, context)
        except BaseException as error:
            await scope.fail(error)
        finally:
            scope.end()

    async def _within_default(self, request: Message, context: Context) -> Message | bytes:
        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                return cast(Message | bytes, await self._behaviour(request, context))
        except TimeoutError:
            if limit.expired():
                raise self._overdue() from None
            raise

    async def _stream(self, raw: Any, context: Context) -> AsyncIterator[Message | bytes]:
        scope = _Scope(self._name, self._metrics, context, self._callers, unary=False)
        try:
            scope.admit()
            request = self._decode_all(raw) if self._client_streams else self._decode(raw)
            async for response in self._behaviour(request, context):
                yield response
        except BaseException as error:
            await scope.fail(error)
        finally:
            scope.end()

    def _decode(self, raw: bytes) -> Message:
        # Done here and not by grpcio, which answers INTERNAL to bytes that are not the message.
        try:
            request = self._parse(raw)
        except DecodeError as error:
            raise MarqueeError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "MALFORMED_MESSAGE",
                f"the request's bytes are not a message of {self._name}: {error}",
            ) from None
        if self._check is not None:
            self._check(request, "")
        return request

    async def _decode_all(self, raw: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for message in raw:
            yield self._decode(message)
        # The stream also ends where the caller was cut off. Then the cancellation comes, as an event of its
        # own: mostly at once, later where gRPC's thread was interrupted between the two.
        await asyncio.sleep(_CUT_OFF_S)

    def _overdue(self) -> MarqueeError:
        return errors.deadline_exceeded(
            f"{self._name} took longer than {self._deadline_s:g} s; set a deadline of your own to wait longer"
        )


def _anybody() -> bool:
    return True


def _has_left(error: BaseException) -> bool:
    """Whether the call was cancelled before it failed: its caller is gone, or this process ends."""
    task = asyncio.current_task()
    return isinstance(error, GeneratorExit) or (task is not None and task.cancelling() > 0)


class _Scope:
    """One call, from its arrival to its end."""

    __slots__ = ("_call", "_callers", "_code", "_context", "_metrics", "_name", "_span", "_started", "_unary")

    def __init__(
        self,
        name: str,
        metrics: MethodMetrics,
        context: Context,
        callers: Container[str] | None,
        *,
        unary: bool,
    ) -> None:
        self._name = name
        self._unary = unary
        self._callers = callers
        self._metrics = metrics
        self._context = context
        self._code = grpc.StatusCode.OK
        self._started = time.perf_counter()
        metadata = context.invocation_metadata() or ()
        may_vouch = _anybody if callers is None else self._vouched
        call = identity.Call(metadata, may_vouch, context.time_remaining)
        identity.enter(call)
        self._call = call
        self._span = spans.begin_rpc(name, call) if tracing.enabled() else None
        metrics.started()

    def admit(self) -> None:
        """Refuses callers that this service is not for."""
        if self._callers is not None and (peer := tls.peer_of(self._context)) not in self._callers:
            raise errors.denied("CALLER_NOT_ALLOWED", f"{self._name} is not for {peer or 'unknown callers'}")

    def _vouched(self) -> bool:
        return tls.peer_of(self._context) in tls.VOUCHERS

    async def fail(self, error: BaseException) -> NoReturn:
        """Ends the call with an error: as it says, or INTERNAL and a line in the log."""
        if _has_left(error):
            # Whatever was interrupted may have made another error of that: nobody waits for an answer.
            self._code = grpc.StatusCode.CANCELLED
            if isinstance(error, asyncio.CancelledError | GeneratorExit):
                raise error
            log.info("%s was interrupted, since its caller had left: %r", self._name, error)
            raise asyncio.CancelledError from error
        if isinstance(error, MarqueeError):
            await self._abort(error)
        if isinstance(error, grpc.aio.AbortError):
            code = self._context.code()
            self._code = code if isinstance(code, grpc.StatusCode) else _CODES[code]
            raise error
        # A CancelledError that comes from something below and not from this call's own end must not
        # leave the handler: grpcio would never answer the client.
        log.error("%s failed", self._name, exc_info=error)
        await self._abort(MarqueeError(grpc.StatusCode.INTERNAL, "INTERNAL", _INTERNAL))

    def end(self) -> None:
        seconds = time.perf_counter() - self._started
        exemplar = None if self._span is None else tracing.exemplar(self._span)
        self._metrics.handled(self._code, seconds, exemplar)
        if tracing.enabled():
            spans.end_rpc(self._span, self._name, self._call, self._code, seconds, unary=self._unary)

    async def _abort(self, error: MarqueeError) -> NoReturn:
        self._code = error.code
        await self._context.abort(error.code, error.message, errors.trailers(error))
        raise AssertionError("abort returned")


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
