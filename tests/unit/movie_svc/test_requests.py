"""Bad requests are refused with the field that is wrong."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf import field_mask_pb2
from marquee.movies.v1 import movies_pb2

from mesh import texts
from mesh.errors import MarqueeError
from movie_svc import requests


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    return field_mask_pb2.FieldMask(paths=paths)


@pytest.mark.parametrize(
    "check",
    [
        lambda: texts.text("f", "", 1, 200),
        lambda: texts.text("f", "  ", 1, 200),
        lambda: texts.text("f", "x" * 201, 1, 200),
        lambda: texts.text("f", "a\0b", 1, 200),
        lambda: texts.text("f", "a\x1bb", 1, 200),
        lambda: requests.year("f", 1869),
        lambda: requests.year("f", 2101),
        lambda: requests.year("f", 0),
        lambda: requests.year("f", -1),
        lambda: requests.decade("f", 1995),
        lambda: requests.decade("f", 1860),
        lambda: requests.decade("f", 2110),
        lambda: requests.kind("f", 5),
        lambda: requests.kind("f", -1),
        lambda: requests.order("f", "rating"),
        lambda: requests.order("f", "title up"),
        lambda: requests.order("f", "title desc, year"),
        lambda: requests.order("f", "x" * 1000),
        lambda: requests.mask(movies_pb2.GetMovieRequest(read_mask=mask("nothing"))),
        lambda: requests.mask(movies_pb2.GetMovieRequest(read_mask=mask("title", "awards.nothing"))),
        lambda: requests.mask(movies_pb2.GetMovieRequest(read_mask=mask("directors.person"))),
        lambda: requests.mask(movies_pb2.GetMovieRequest(read_mask=mask(""))),
        lambda: requests.mask(movies_pb2.GetMovieRequest(read_mask=mask("x" * 1000))),
        lambda: requests.mask(movies_pb2.GetMovieRequest(read_mask=mask("title"), fields=mask("year"))),
    ],
)
def test_what_is_wrong_is_said_by_field(check: Callable[[], object]) -> None:
    with pytest.raises(MarqueeError) as caught:
        check()
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert next(violation.field for violation in caught.value.violations) in ("f", "read_mask", "fields")
    assert len(caught.value.message) < 250


def test_a_mask_cuts_a_movie_down() -> None:
    movie = movies_pb2.Movie(name="movies/tt0111161", title="T", year=1994)
    movie.awards.wins = 3
    movie.awards.text = "3 wins"
    for request in (
        movies_pb2.GetMovieRequest(read_mask=mask("title", "awards.wins")),
        movies_pb2.SearchMoviesRequest(fields=mask("title", "awards.wins")),
    ):
        cut = requests.mask(request)
        assert cut is not None
        assert movies_pb2.Movie.FromString(cut(movie.SerializeToString())) == movies_pb2.Movie(
            title="T", awards=movies_pb2.Awards(wins=3)
        )


@pytest.mark.parametrize("paths", [(), ("*",)])
def test_no_mask_is_all_fields(paths: tuple[str, ...]) -> None:
    assert requests.mask(movies_pb2.ListMoviesRequest(read_mask=mask(*paths))) is None


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", ("imdb_votes", True)),
        ("imdb_votes desc", ("imdb_votes", True)),
        ("title", ("title", False)),
        ("  year   desc ", ("year", True)),
        ("year asc", ("year", False)),
    ],
)
def test_orders(text: str, order: tuple[str, bool]) -> None:
    assert requests.order("f", text) == order
