"""What movie_svc reads from requests."""

import grpc
import pytest
from google.protobuf import field_mask_pb2
from marquee.movies.v1 import movies_pb2

from mesh.errors import MarqueeError
from movie_svc import requests


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    return field_mask_pb2.FieldMask(paths=paths)


def test_one_mask_is_enough() -> None:
    """No rule can say what two fields are together."""
    with pytest.raises(MarqueeError) as caught:
        requests.mask(movies_pb2.GetMovieRequest(read_mask=mask("title"), fields=mask("year")))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == ["fields"]


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
    assert requests.order(text) == order
