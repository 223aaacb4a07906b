"""The messages of each call, from what a program says; both clients send the same."""

import uuid
from collections.abc import Iterable

from marquee.movies.v1 import movies_pb2
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import ratings_pb2

ME = "users/me"


def movie_name(movie: str) -> str:
    """`movies/tt0111161`, from that or from `tt0111161`."""
    return movie if movie.startswith("movies/") else f"movies/{movie}"


def rating_name(movie: str) -> str:
    """The name of one's own rating of a film."""
    return f"{ME}/ratings/{movie.removeprefix('movies/')}"


def score_name(movie: str) -> str:
    """The name of a film's score."""
    return f"{movie_name(movie)}/score"


def get_movie(movie: str, full_plot: bool) -> movies_pb2.GetMovieRequest:
    return movies_pb2.GetMovieRequest(name=movie_name(movie), full_plot=full_plot)


def batch_get(movies: Iterable[str]) -> movies_pb2.BatchGetMoviesRequest:
    return movies_pb2.BatchGetMoviesRequest(names=map(movie_name, movies))


def rate(movie: str, score: int, request_id: str | None) -> ratings_pb2.RateMovieRequest:
    return ratings_pb2.RateMovieRequest(
        name=rating_name(movie), score=score, request_id=request_id or str(uuid.uuid4())
    )


def delete(movie: str, request_id: str | None) -> ratings_pb2.DeleteRatingRequest:
    return ratings_pb2.DeleteRatingRequest(
        name=rating_name(movie), request_id=request_id or str(uuid.uuid4())
    )


def batch_rate(scores: Iterable[tuple[str, int]]) -> ratings_pb2.BatchRateMoviesRequest:
    requests = [rate(movie, score, None) for movie, score in scores]
    return ratings_pb2.BatchRateMoviesRequest(parent=ME, requests=requests)


def imported(movie: str, score: int) -> ratings_pb2.ImportRatingsRequest:
    return ratings_pb2.ImportRatingsRequest(movie=movie_name(movie), score=score)


def watch(movie: str) -> rankings_pb2.WatchScoreRequest:
    return rankings_pb2.WatchScoreRequest(name=score_name(movie))
