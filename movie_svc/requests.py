"""Reads requests, which `mesh.rules` has checked by the contract's rules. Checks what no rule can say."""

from collections.abc import Callable

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message
from marquee.movies.v1 import movies_pb2

from mesh.errors import invalid

Cut = Callable[[bytes], bytes]
"""Cuts a movie's bytes down to some of its fields."""


def order(order_by: str) -> tuple[str, bool]:
    """`imdb_votes desc` → ("imdb_votes", True)."""
    name, *direction = order_by.split() or ["imdb_votes", "desc"]
    return name, direction == ["desc"]


def mask(request: Message) -> Cut | None:
    """What cuts a movie's bytes down to the mask of a request; None if all fields are wanted."""
    given = [name for name in ("read_mask", "fields") if request.HasField(name)]
    if not given:
        return None
    if len(given) == 2:
        raise invalid("fields", "it is another name of read_mask, which is given too")
    value: field_mask_pb2.FieldMask = getattr(request, given[0])
    if not value.paths or list(value.paths) == ["*"]:
        return None
    wanted = field_mask_pb2.FieldMask(paths=value.paths)

    def cut(data: bytes) -> bytes:
        movie = movies_pb2.Movie()
        wanted.MergeMessage(movies_pb2.Movie.FromString(data), movie)
        return movie.SerializeToString()

    return cut
