"""Looks requests over: what is wrong with them is said by field, before anything is asked of anyone."""

from collections.abc import Callable
from typing import Final

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message
from marquee.movies.v1 import movies_pb2

from mesh.errors import invalid

FIRST_YEAR: Final = 1870
LAST_YEAR: Final = 2100
MAX_BATCH: Final = 100
DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100
_ORDERS: Final = ("title", "year", "imdb_votes")

Cut = Callable[[bytes], bytes]
"""Cuts a movie's bytes down to some of its fields."""


def year(field: str, value: int) -> int:
    if not FIRST_YEAR <= value <= LAST_YEAR:
        raise invalid(field, f"{value} is not within {FIRST_YEAR}–{LAST_YEAR}")
    return value


def decade(field: str, value: int) -> int:
    if value % 10 or not FIRST_YEAR <= value <= LAST_YEAR:
        raise invalid(field, f"{value} is not the first year of a decade, {FIRST_YEAR}–{LAST_YEAR}")
    return value


def kind(field: str, value: int) -> int:
    if value not in movies_pb2.MovieType.values():
        raise invalid(field, f"{value} is not a MovieType")
    return value


def order(field: str, value: str) -> tuple[str, bool]:
    """`imdb_votes desc` → ("imdb_votes", True)."""
    parts = value.split() or ["imdb_votes", "desc"]
    if parts[0] not in _ORDERS or parts[1:] not in ([], ["asc"], ["desc"]):
        shown = value if len(value) <= 80 else value[:80] + "…"
        raise invalid(field, f"{shown!r} is not one of {', '.join(_ORDERS)}, each with or without desc")
    return parts[0], parts[1:] == ["desc"]


def mask(request: Message) -> Cut | None:
    """What cuts a movie's bytes down to the mask of a request; None if all fields are wanted."""
    given = [name for name in ("read_mask", "fields") if request.HasField(name)]
    if not given:
        return None
    if len(given) == 2:
        raise invalid("fields", "it is another name of read_mask, which is given too")
    field = given[0]
    value: field_mask_pb2.FieldMask = getattr(request, field)
    if not value.paths or list(value.paths) == ["*"]:
        return None
    for path in value.paths:
        single = field_mask_pb2.FieldMask(paths=[path])
        if not single.IsValidForDescriptor(movies_pb2.Movie.DESCRIPTOR):
            raise invalid(field, f"a Movie has no field {path[:80]!r}")
    wanted = field_mask_pb2.FieldMask(paths=value.paths)

    def cut(data: bytes) -> bytes:
        movie = movies_pb2.Movie()
        wanted.MergeMessage(movies_pb2.Movie.FromString(data), movie)
        return movie.SerializeToString()

    return cut
