"""The spans of calls between parts: RPCs, statements, commands, messages.

Names and attributes are those of OpenTelemetry's semantic conventions
(https://opentelemetry.io/docs/specs/semconv/). No value that a user sent stands in them: statements are the
code's own, with their parameters left out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import grpc
from opentelemetry.trace import Link, Span, SpanKind
from redis.exceptions import NoScriptError

from mesh import clock, identity, tracing

LINKED_HEADER: Final = "x-marquee-linked-trace"
"""The `traceparent` that a client sent: the edge passes it on for a link, and nobody obeys it."""

_STATEMENT: Final = 300
_MOST: Final = 32
"""Messages of a batch that have spans or links."""

# https://opentelemetry.io/docs/specs/semconv/rpc/grpc/: what is the server's fault.
_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def begin_rpc(name: str, call: identity.Call) -> Span | None:
    """Starts the span of an RPC that has arrived, if it is sampled."""
    parent = call.header(identity.TRACEPARENT_HEADER)
    if not tracing.is_sampled(parent):
        return None
    linked = tracing.link(call.vouched_header(LINKED_HEADER))
    links = () if linked is None else (linked,)
    span = tracing.follow(parent, name, SpanKind.SERVER, {"rpc.system": "grpc", "rpc.method": name}, links)
    tracing.enter(span)
    return span


def end_rpc(
    span: Span | None, name: str, call: identity.Call, code: grpc.StatusCode, seconds: float, *, unary: bool
) -> None:
    """Ends the span of an RPC. One that was not sampled has one after all if it failed, or was slow."""
    error = code.name if code in _FAULTS else ""
    if span is not None:
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if error:
            tracing.fail(span, error)
        span.end()
    elif error or (unary and tracing.is_slow(seconds)):
        attributes = {"rpc.system": "grpc", "rpc.method": name, "rpc.grpc.status_code": code.value[0]}
        tracing.tell(call.header(identity.TRACEPARENT_HEADER), name, seconds, attributes, error)


def begin_call(method: str) -> Span | None:
    """Starts the span of an RPC to another service; None where nothing is sampled."""
    parent = tracing.current()
    if parent is None:
        return None
    name = method.lstrip("/")
    return tracing.child(parent, name, SpanKind.CLIENT, {"rpc.system": "grpc", "rpc.method": name})


def end_call(span: Span, code: grpc.StatusCode) -> None:
    """Ends it."""
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        tracing.fail(span, code.name)
    span.end()


def statement(query: str, server: str) -> Any:
    """A query that a pool is asked, the wait for a connection included: for a `with`."""
    parent = tracing.current()
    if parent is None:
        return tracing.NOTHING
    return tracing.Within(_statement(parent, query, server))


@contextmanager
def statements(connection: Any, server: str) -> Iterator[None]:
    """Each statement of an asyncpg connection has a span below a transaction's, while the block lasts."""
    parent = tracing.current()
    if parent is None:
        yield
        return
    with tracing.Within(tracing.child(parent, "transaction", SpanKind.INTERNAL)) as span:

        def ran(record: Any) -> None:
            end = clock.machine_ns()
            made = _statement(span, record.query, server, start_time=end - int(record.elapsed * 1e9))
            if record.exception is not None:
                tracing.fail(made, type(record.exception).__name__)
            made.end(end)

        with connection.query_logger(ran):
            yield


def _statement(parent: Span, query: str, server: str, **times: Any) -> Span:
    words = query.split(None, 1)
    operation = words[0].rstrip(";").upper() if words else "?"
    attributes = {
        "db.system.name": "postgresql",
        "db.operation.name": operation,
        "db.query.text": " ".join(query[: 2 * _STATEMENT].split())[:_STATEMENT],
        "server.address": server,
    }
    return tracing.child(parent, f"postgresql {operation}", SpanKind.CLIENT, attributes, **times)


def command(name: Any) -> Any:
    """A command to Redis, for a `with`. Not its arguments: users' names stand there."""
    parent = tracing.current()
    if parent is None:
        return tracing.NOTHING
    operation = str(name).split(None, 1)[0].upper()
    attributes = {"db.system.name": "redis", "db.operation.name": operation}
    span = tracing.child(parent, f"redis {operation}", SpanKind.CLIENT, attributes)
    # A script that Redis has not seen yet is sent to it next.
    return tracing.Within(span, (NoScriptError,))


def sending(topic: str) -> Any:
    """A message on its way into a topic, for a `with`."""
    if tracing.current() is None:
        return tracing.NOTHING
    return tracing.within(f"send {topic}", SpanKind.PRODUCER, _messaging(topic, "send"))


@contextmanager
def forwarding(topic: str, origins: Sequence[str]) -> Iterator[list[str]]:
    """Messages that are sent for others' traces, by their `traceparent`; what each message carries."""
    if not any(origins):
        yield []
        return
    opened: list[Span] = []
    carried: list[str] = []
    for origin in origins:
        span = _follow(opened, origin, f"send {topic}", SpanKind.PRODUCER, _messaging(topic, "send"))
        carried.append("" if span is None else tracing.traceparent_of(span))
    with _ended(opened):
        yield carried


def following(traceparent: str, name: str) -> Any:
    """What another process has asked for, without a message that is kept: for a `with`."""
    span = tracing.follow(traceparent, name)
    return tracing.NOTHING if span is None else tracing.Within(span)


class Origin(Protocol):
    """A message that was read, as far as its trace is concerned."""

    partition: int
    offset: int

    @property
    def traceparent(self) -> str: ...


@contextmanager
def processing(
    topic: str, reader: str, messages: Sequence[Origin], carry: Callable[[int, str], None]
) -> Iterator[None]:
    """A batch: part of the trace of its first sampled message, with links to the others.

    Those have spans too, each with a link to the batch, which has all that is done once for them together.

    Args:
        carry: is told by a message's number what passes its trace on.
    """
    sampled = [number for number, each in enumerate(messages) if tracing.is_sampled(each.traceparent)]
    if not sampled or not tracing.enabled():
        yield
        return
    links = [tracing.link(messages[number].traceparent) for number in sampled[1:_MOST]]
    attributes = {
        **_messaging(topic, "process"),
        "messaging.consumer.group.name": reader,
        "messaging.batch.message_count": len(messages),
    }
    first, *others = sampled
    name = f"process {topic}"
    batch = tracing.follow(
        messages[first].traceparent,
        name,
        SpanKind.CONSUMER,
        {**attributes, **_place(messages[first])},
        tuple(each for each in links if each is not None),
    )
    if batch is None:
        yield
        return
    carry(first, tracing.traceparent_of(batch))
    opened: list[Span] = []
    to_batch = (Link(batch.get_span_context()),)
    for number in others:
        each = messages[number]
        span = _follow(
            opened, each.traceparent, name, SpanKind.CONSUMER, {**attributes, **_place(each)}, to_batch
        )
        if span is not None:
            carry(number, tracing.traceparent_of(span))
    with _ended(opened), tracing.Within(batch):
        yield


def _follow(opened: list[Span], traceparent: str, *arguments: Any) -> Span | None:
    if len(opened) >= _MOST:
        return None
    span = tracing.follow(traceparent, *arguments)
    if span is not None:
        opened.append(span)
    return span


@contextmanager
def _ended(opened: Sequence[Span]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for span in opened:
            tracing.fail(span, type(error).__name__)
        raise
    finally:
        for span in opened:
            span.end()


def _messaging(topic: str, operation: str) -> dict[str, Any]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }


def _place(message: Origin) -> dict[str, Any]:
    return {
        "messaging.destination.partition.id": str(message.partition),
        "messaging.kafka.offset": message.offset,
    }
