"""Protobuf's wire format, as far as ready bytes are put together with it.

Messages that stand one behind the other are merged when they are read, so a
field can be added to a stored message by appending it:
https://protobuf.dev/programming-guides/encoding/#last-one-wins
"""

from collections.abc import Iterable
from typing import Final

from marquee.movies.v1 import movies_pb2


def _number(message: str, field: str) -> int:
    return int(movies_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name[field].number)


def varint(value: int) -> bytes:
    """A non-negative whole number."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def delimited(field: int, data: bytes) -> bytes:
    """A field that holds a text, bytes or a message."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def flag(field: int) -> bytes:
    """A bool field that is set."""
    return varint(field << 3) + b"\x01"


STALE: Final = flag(_number("Movie", "stale"))
"""Append to a Movie to mark it stale."""

_MOVIES_TAG: Final = varint(_number("BatchGetMoviesResponse", "movies") << 3 | 2)
_MISSING: Final = _number("BatchGetMoviesResponse", "missing")
_TOKEN: Final = _number("SearchMoviesResponse", "next_page_token")
assert _number("SearchMoviesResponse", "movies") == _number("BatchGetMoviesResponse", "movies")
assert _number("ListMoviesResponse", "movies") == _number("BatchGetMoviesResponse", "movies")
assert _number("ListMoviesResponse", "next_page_token") == _TOKEN


def with_full_plot(data: bytes, plot: str, etag: str) -> bytes:
    """A Movie's bytes with its full plot and the etag of both.

    Not by appending: Envoy's transcoder refuses a message in which a singular field stands twice, as the
    etag would.
    """
    movie = movies_pb2.Movie.FromString(data)
    movie.full_plot = plot
    movie.etag = etag
    return movie.SerializeToString()


def batch(movies: Iterable[bytes], missing: Iterable[movies_pb2.MissingMovie]) -> bytes:
    """A BatchGetMoviesResponse of ready movies."""
    return _joined(movies) + b"".join(delimited(_MISSING, m.SerializeToString()) for m in missing)


def page(movies: Iterable[bytes], next_page_token: str) -> bytes:
    """A SearchMoviesResponse or ListMoviesResponse of ready movies."""
    made = _joined(movies)
    return made + delimited(_TOKEN, next_page_token.encode()) if next_page_token else made


def _joined(movies: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    for data in movies:
        parts += (_MOVIES_TAG, varint(len(data)), data)
    return b"".join(parts)
