"""Messages that are sent together, and what becomes of each."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, Message

from mesh import identity

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
"""Headers of a message, as librdkafka takes them."""

PLACE_UNKNOWN: Final = -1
"""In place of an offset: a retry found the message there already, and the broker does not say where."""


class Portion:
    """The deliveries of messages that are sent together."""

    __slots__ = ("_ended", "_hand_over", "_sent", "done")

    def __init__(
        self, done: "asyncio.Future[None]", count: int, hand_over: Callable[["Portion"], None]
    ) -> None:
        """`hand_over` is called once all have ended, in whatever thread the last of them is reported."""
        self.done = done
        self._sent = count
        self._hand_over = hand_over
        self._ended: list[tuple[int, KafkaError | None, int | None]] = []

    @property
    def sent(self) -> int:
        """How many were handed to librdkafka."""
        return self._sent

    def report(self, number: int) -> Callable[[KafkaError | None, Message], None]:
        """What librdkafka tells of the message of that number."""
        return partial(self._ended_as, number)

    def cut(self, count: int) -> None:
        """Only the first `count` were handed to librdkafka."""
        self._sent = count
        self._look()

    def ends(self) -> list[int | KafkaError | None]:
        """Of each that was handed over its offset, why it has none, or None where that is not known yet."""
        found: list[int | KafkaError | None] = [None] * self._sent
        for number, error, offset in list(self._ended):
            found[number] = error if error is not None else PLACE_UNKNOWN if offset is None else offset
        return found

    def _ended_as(self, number: int, error: KafkaError | None, message: Message) -> None:
        # Appending is one step, for whatever threads report at the same time: those that poll and that flush.
        self._ended.append((number, error, message.offset()))
        self._look()

    def _look(self) -> None:
        if len(self._ended) >= self._sent:
            self._hand_over(self)


def header_of(traces: Sequence[str], number: int) -> Headers:
    """The headers of one of many messages, by their `traceparent`s."""
    return [(identity.TRACEPARENT_HEADER, traces[number])] if traces and traces[number] else []
