"""Answers of ready movies: their stored bytes go out as they are."""

from collections.abc import Iterable
from typing import Final

from marquee.movies.v1 import movies_pb2 as pb

from mesh.wire import DELIMITED, VARINT, delimited, repeated, tag

STALE: Final = tag(pb.Movie, "stale", VARINT) + b"\x01"
"""Append to a Movie to mark it stale."""

_MOVIES: Final = tag(pb.BatchGetMoviesResponse, "movies", DELIMITED)
_MISSING: Final = tag(pb.BatchGetMoviesResponse, "missing", DELIMITED)
_TOKEN: Final = tag(pb.SearchMoviesResponse, "next_page_token", DELIMITED)
assert tag(pb.SearchMoviesResponse, "movies", DELIMITED) == _MOVIES
assert tag(pb.ListMoviesResponse, "movies", DELIMITED) == _MOVIES
assert tag(pb.ListMoviesResponse, "next_page_token", DELIMITED) == _TOKEN


def with_full_plot(data: bytes, plot: str, etag: str) -> bytes:
    """A Movie's bytes with its full plot and the etag of both.

    Not by appending: Envoy's transcoder refuses a message in which a singular field stands twice, as the
    etag would.
    """
    movie = pb.Movie.FromString(data)
    movie.full_plot = plot
    movie.etag = etag
    return movie.SerializeToString()


def batch(movies: Iterable[bytes], missing: Iterable[pb.MissingMovie]) -> bytes:
    """A BatchGetMoviesResponse of ready movies."""
    return repeated(_MOVIES, movies) + repeated(_MISSING, (each.SerializeToString() for each in missing))


def page(movies: Iterable[bytes], next_page_token: str) -> bytes:
    """A SearchMoviesResponse or ListMoviesResponse of ready movies."""
    made = repeated(_MOVIES, movies)
    return made + delimited(_TOKEN, next_page_token.encode()) if next_page_token else made
