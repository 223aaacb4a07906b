"""A message that was read."""

import hashlib
from typing import Any, cast

from confluent_kafka import Message


class Record:
    """A message that was read."""

    __slots__ = ("headers", "key", "offset", "partition", "time_ms", "topic", "value")

    def __init__(self, message: Message) -> None:
        self.topic: str = message.topic() or ""
        self.partition: int = message.partition() or 0
        self.offset: int = message.offset() or 0
        self.key: bytes = bytes_of(message.key())
        self.value: bytes = bytes_of(message.value())
        self.time_ms: int = message.timestamp()[1]
        pairs = cast(list[tuple[str, bytes | None]], message.headers() or [])
        self.headers: dict[str, str] = {
            name: bytes_of(value).decode(errors="replace") for name, value in pairs
        }

    @property
    def traceparent(self) -> str:
        """The trace that it is part of; empty if it is of none."""
        return self.headers.get("traceparent", "")

    def fingerprint(self) -> int:
        """Tells this message from another one at the same place, as a signed number of 64 bits."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.time_ms.to_bytes(8, "big", signed=True), self.key, b"\0", self.value):
            digest.update(part)
        return int.from_bytes(digest.digest(), "big", signed=True)


def bytes_of(value: Any) -> bytes:
    """A message's key, value or header as bytes; empty if there is none."""
    return b"" if value is None else value if isinstance(value, bytes) else str(value).encode()
