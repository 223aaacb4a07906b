"""Requests are held to the contract's rules, and a refusal names the field."""

from typing import Any

import grpc
import pytest
from marquee.movies.v1 import movies_pb2 as movies
from marquee.rankings.v1 import rankings_pb2 as rankings
from marquee.ratings.v1 import ratings_pb2 as ratings

from mesh import rules
from mesh.errors import MarqueeError

MOVIE = "movies/tt0111161"
RATING = "users/me/ratings/tt0111161"
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


def refusal(request: Any, prefix: str = "") -> MarqueeError:
    with pytest.raises(MarqueeError) as caught:
        rules.check(request, prefix)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.message) < 250
    return caught.value


def mask(*paths: str) -> Any:
    return movies.GetMovieRequest(name=MOVIE, read_mask={"paths": paths})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (movies.LookupMovieRequest(title=""), "title: it has 0 characters; 1 to 200 are allowed"),
        (movies.LookupMovieRequest(title=" \u00a0 "), "title: it has 0 characters; 1 to 200 are allowed"),
        (movies.LookupMovieRequest(title="x" * 201), "title: it has 201 characters; 1 to 200 are allowed"),
        (movies.LookupMovieRequest(title="a\0b"), "title: it holds control characters"),
        (movies.LookupMovieRequest(title="a\x1bb"), "title: it holds control characters"),
        (movies.LookupMovieRequest(title="a\u2028b"), "title: it holds control characters"),
        (movies.LookupMovieRequest(title="x", year=1869), "year: 1869 is not within 1870–2100"),
        (movies.LookupMovieRequest(title="x", year=2101), "year: 2101 is not within 1870–2100"),
        (movies.LookupMovieRequest(title="x", year=0), "year: 0 is not within 1870–2100"),
        (movies.LookupMovieRequest(title="x", type=5), "type: 5 is not the number of a MovieType"),  # type: ignore[arg-type]
        (movies.LookupMovieRequest(title="x", type=-1), "type: -1 is not the number of a MovieType"),  # type: ignore[arg-type]
        (movies.SearchMoviesRequest(query="x"), "query: it has 1 characters; 2 to 200 are allowed"),
        (movies.ListMoviesRequest(genre="x" * 101), "genre: it has 101 characters; up to 100 are allowed"),
        (movies.ListMoviesRequest(decade=1995), "decade: 1995 is not the first year of a decade, 1870–2100"),
        (movies.ListMoviesRequest(decade=1860), "decade: 1860 is not the first year of a decade, 1870–2100"),
        (movies.ListMoviesRequest(decade=2110), "decade: 2110 is not the first year of a decade, 1870–2100"),
        (
            movies.ListMoviesRequest(order_by="title up"),
            "order_by: 'title up' is not one of title, year, imdb_votes, each with or without desc",
        ),
        (
            movies.ListMoviesRequest(page_size=-1),
            "page_size: -1 is negative; use 1 to 100, or leave it out for 20",
        ),
        (movies.BatchGetMoviesRequest(), "names: it has 0 items; 1 to 100 are allowed"),
        (movies.BatchGetMoviesRequest(names=[MOVIE] * 101), "names: it has 101 items; 1 to 100 are allowed"),
        (
            movies.BatchGetMoviesRequest(names=[MOVIE, "x"]),
            "names[1]: 'x' is not a movie's name, such as movies/tt0111161",
        ),
        (mask("title", "nothing"), "read_mask: a Movie has no field 'nothing'"),
        (mask("awards.nothing"), "read_mask: a Movie has no field 'awards.nothing'"),
        (mask("directors.person"), "read_mask: a Movie has no field 'directors.person'"),
        (mask(""), "read_mask: a Movie has no field ''"),
        (rankings.ListTopRatedRequest(min_votes=-1), "min_votes: -1 is negative; use 0 or more"),
        (rankings.ListTrendingRequest(window=9), "window: 9 is not the number of a TrendingWindow"),  # type: ignore[arg-type]
        (ratings.ListRatingsRequest(parent="me"), "parent: 'me' is not a user's name: users/me"),
        (
            ratings.ListRatingsRequest(parent="users/me", max_score=11),
            "max_score: 11 is not a score: 1 (worst) to 10 (best)",
        ),
        (
            ratings.RateMovieRequest(name=RATING),
            "score: 0 is not a score: 1 (worst) to 10 (best)",
        ),
        (
            ratings.BatchRateMoviesRequest(parent="users/me"),
            "requests: it has 0 items; 1 to 500 are allowed",
        ),
    ],
)
def test_what_is_wrong_is_said_by_field(request_: Any, message: str) -> None:
    error = refusal(request_)
    assert error.message == message
    assert [violation.field for violation in error.violations] == [message.partition(":")[0]]


@pytest.mark.parametrize(
    "request_",
    [
        movies.GetMovieRequest(name=MOVIE),
        mask(),
        mask("*"),
        mask("title", "awards.wins"),
        movies.LookupMovieRequest(title=" x "),
        movies.LookupMovieRequest(title="x\n", year=1870, type=movies.MOVIE_TYPE_GAME),
        movies.ListMoviesRequest(),
        movies.ListMoviesRequest(genre="  ", decade=2100, year=2100, page_size=2**31 - 1),
        *(
            movies.ListMoviesRequest(order_by=text)
            for text in ("", "title", "year asc", "imdb_votes desc", " year   desc ", "\tyear\u00a0desc")
        ),
        movies.BatchGetMoviesRequest(names=[MOVIE] * 100),
        ratings.RateMovieRequest(name=RATING, score=1, request_id=UUID.upper()),
        ratings.ListRatingsRequest(parent="users/me", min_score=10, max_score=0),
    ],
)
def test_what_is_not_given_or_within_the_rules_passes(request_: Any) -> None:
    rules.check(request_)


@pytest.mark.parametrize(
    "text", ["x", UUID.replace("-", ""), "{" + UUID + "}", "urn:uuid:" + UUID, UUID + "\0", UUID[:-1], " "]
)
def test_a_request_id_is_a_uuid_in_its_usual_form(text: str) -> None:
    error = refusal(ratings.RateMovieRequest(name=RATING, score=5, request_id=text))
    assert error.reason == "INVALID_REQUEST_ID"


def test_a_very_long_value_is_not_repeated_in_full() -> None:
    for request in (
        movies.GetMovieRequest(name="x" * 100_000),
        movies.ListMoviesRequest(order_by="x" * 9999),
    ):
        assert "…" in refusal(request).message
    assert len(refusal(mask("x" * 100_000)).message) < 250


def test_items_that_stand_apart_are_left_to_their_handler_which_names_their_place() -> None:
    wrong = ratings.RateMovieRequest(name=RATING, score=11)
    rules.check(ratings.BatchRateMoviesRequest(parent="users/me", requests=[wrong]))
    error = refusal(wrong, "requests[7].")
    assert (error.reason, error.violations[0].field) == ("INVALID_SCORE", "requests[7].score")


def test_sizes_of_pages() -> None:
    sizes = [rules.page_size(movies.ListMoviesRequest(page_size=size)) for size in (0, 7, 100, 1000)]
    assert sizes == [20, 7, 100, 100]
    assert rules.page_size(ratings.ListRatingsRequest()) == 50
