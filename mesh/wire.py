"""Protobuf's wire format, as far as messages are put together from ready bytes with it.

Parts may stand in any order, and messages that stand one behind the other are merged when they are read: a
field can be added to a serialized message by appending it.
https://protobuf.dev/programming-guides/encoding/#order and #last-one-wins
"""

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import Message

VARINT: Final = 0
FIXED64: Final = 1
DELIMITED: Final = 2
"""The wire type of texts, bytes and messages."""


def _encoded(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


# Nearly all that are written: lengths of movies, ranks.
_READY: Final = tuple(map(_encoded, range(4096)))


def varint(value: int) -> bytes:
    """A non-negative whole number."""
    return _READY[value] if value < len(_READY) else _encoded(value)


def tag(message: type[Message], field: str, wire_type: int) -> bytes:
    """What stands before a field of that name."""
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)


def delimited(before: bytes, data: bytes) -> bytes:
    """A text, bytes or a message behind its tag."""
    return before + varint(len(data)) + data


def repeated(before: bytes, items: Iterable[bytes]) -> bytes:
    """Items of a repeated field, each behind the tag."""
    parts: list[bytes] = []
    for data in items:
        parts += (before, varint(len(data)), data)
    return b"".join(parts)
