"""The client for plain programs: it may be used by several threads at once."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2, rankings_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc

from marquee_client import requests
from marquee_client.errors import SignInError, error_of, no_token
from marquee_client.settings import STREAM_S, ClientSettings, channel_options, lost, pause_s
from marquee_client.tokens import Kept, Token

Answer = TypeVar("Answer")

_DEFAULTS: Final = ClientSettings()


class Client:
    """Calls Marquee. Close it, or use it in a `with` block.

    Every call may raise a MarqueeError. Lists and streams are iterators, which ask as they are read.

    Args:
        target: the edge, such as `marquee.example:443` or `127.0.0.1:8080`.
        token: an access token, or what returns one: asked when the one before is about to end or was refused.
            Without it, only what is public can be called.
        tls: whether to encrypt; on, unless the edge is this machine's own.
        settings: deadlines, retries, and so on.
    """

    def __init__(
        self,
        target: str,
        token: str | Callable[[], Token | str] | None = None,
        *,
        tls: bool = True,
        settings: ClientSettings = _DEFAULTS,
    ) -> None:
        self._settings = settings
        self._renewable = callable(token)
        self._source = (lambda: token) if isinstance(token, str) else token
        self._kept = Kept()
        self._lock = threading.Lock()
        options = channel_options(settings)
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
            if tls
            else grpc.insecure_channel(target, options)
        )
        self._movies = movies_pb2_grpc.MovieServiceStub(self._channel)
        self._ratings = ratings_pb2_grpc.RatingServiceStub(self._channel)
        self._rankings = rankings_pb2_grpc.RankingServiceStub(self._channel)

    def close(self) -> None:
        """Ends all calls and the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def movie(self, movie: str, *, full_plot: bool = False) -> movies_pb2.Movie:
        """One film, by its id, such as `tt0111161`."""
        return self._call(self._movies.GetMovie, requests.get_movie(movie, full_plot))

    def movies(self, movies: Iterable[str]) -> movies_pb2.BatchGetMoviesResponse:
        """Up to 100 films at once; `missing` says which could not be had, and why."""
        return self._call(self._movies.BatchGetMovies, requests.batch_get(movies), batch=True)

    def lookup(self, title: str, year: int | None = None) -> movies_pb2.Movie:
        """The one film of this title and, if given, year."""
        return self._call(self._movies.LookupMovie, movies_pb2.LookupMovieRequest(title=title, year=year))

    def search(self, query: str, *, year: int | None = None) -> Iterator[movies_pb2.Movie]:
        """Films whose titles fit, best match first."""
        request = movies_pb2.SearchMoviesRequest(query=query, year=year)
        return self._pages(self._movies.SearchMovies, request, lambda page: page.movies)

    def list_movies(
        self, *, genre: str = "", decade: int | None = None, year: int | None = None, order_by: str = ""
    ) -> Iterator[movies_pb2.Movie]:
        """The films that are known, by genre, decade and year."""
        request = movies_pb2.ListMoviesRequest(genre=genre, decade=decade, year=year, order_by=order_by)
        return self._pages(self._movies.ListMovies, request, lambda page: page.movies)

    def score(self, movie: str) -> rankings_pb2.Score:
        """What all ratings of a film say."""
        request = rankings_pb2.GetScoreRequest(name=requests.score_name(movie))
        return self._call(self._rankings.GetScore, request)

    def watch_score(self, movie: str) -> Iterator[rankings_pb2.Score]:
        """A film's score now and after each change, without an end. What cuts the stream is waited out."""
        last: rankings_pb2.Score | None = None
        failures = 0
        while True:
            stream = self._rankings.WatchScore(requests.watch(movie), timeout=STREAM_S)
            try:
                for score in stream:
                    failures = 0
                    if score != last:
                        last = score
                        yield score
            except grpc.RpcError as failed:
                if not lost(failed):
                    raise error_of(failed) from None
                failures += 1
            finally:
                stream.cancel()
            time.sleep(pause_s(self._settings, failures) * random.uniform(0.5, 1.0))  # noqa: S311

    def top_rated(
        self, *, genre: str = "", decade: int | None = None, min_votes: int = 0
    ) -> Iterator[rankings_pb2.ChartEntry]:
        """The chart by weighted score, the best first."""
        request = rankings_pb2.ListTopRatedRequest(genre=genre, decade=decade, min_votes=min_votes)
        return self._pages(self._rankings.ListTopRated, request, lambda page: page.entries)

    def most_voted(self, *, genre: str = "", decade: int | None = None) -> Iterator[rankings_pb2.ChartEntry]:
        """The chart by number of votes, the most first."""
        request = rankings_pb2.ListMostVotedRequest(genre=genre, decade=decade)
        return self._pages(self._rankings.ListMostVoted, request, lambda page: page.entries)

    def box_office(self, *, genre: str = "", decade: int | None = None) -> Iterator[rankings_pb2.ChartEntry]:
        """The chart by what was taken at the box office, the most first."""
        request = rankings_pb2.ListBoxOfficeRequest(genre=genre, decade=decade)
        return self._pages(self._rankings.ListBoxOffice, request, lambda page: page.entries)

    def trending(
        self,
        window: rankings_pb2.TrendingWindow.ValueType = rankings_pb2.TRENDING_WINDOW_WEEK,
        *,
        genre: str = "",
        decade: int | None = None,
    ) -> Iterator[rankings_pb2.ChartEntry]:
        """The chart by recent votes."""
        request = rankings_pb2.ListTrendingRequest(window=window, genre=genre, decade=decade)
        return self._pages(self._rankings.ListTrending, request, lambda page: page.entries)

    def rate(self, movie: str, score: int, *, request_id: str | None = None) -> ratings_pb2.Rating:
        """Gives a film a score, 1 (worst) to 10 (best).

        Sent again with the same `request_id`, a UUID, it takes effect once. By default, each call has
        one of its own.
        """
        return self._call(self._ratings.RateMovie, requests.rate(movie, score, request_id), mine=True)

    def rate_many(self, scores: Iterable[tuple[str, int]]) -> Sequence[ratings_pb2.RateResult]:
        """Gives up to 500 films their scores; each result says whether its own was taken."""
        request = requests.batch_rate(scores)
        return self._call(self._ratings.BatchRateMovies, request, mine=True, batch=True).results

    def rating(self, movie: str) -> ratings_pb2.Rating:
        """One's own rating of a film.

        Raises:
            NotFoundError: there is none.
        """
        request = ratings_pb2.GetRatingRequest(name=requests.rating_name(movie))
        return self._call(self._ratings.GetRating, request, mine=True)

    def delete_rating(self, movie: str, *, request_id: str | None = None) -> ratings_pb2.Rating:
        """Deletes one's own rating of a film."""
        return self._call(self._ratings.DeleteRating, requests.delete(movie, request_id), mine=True)

    def ratings(self, *, min_score: int = 0, max_score: int = 0) -> Iterator[ratings_pb2.Rating]:
        """One's own ratings, the last changed first."""
        request = ratings_pb2.ListRatingsRequest(parent=requests.ME, min_score=min_score, max_score=max_score)
        return self._pages(self._ratings.ListRatings, request, lambda page: page.ratings, mine=True)

    def export_ratings(self) -> Iterator[ratings_pb2.Rating]:
        """All of one's own ratings, as one stream, which fails when it is cut: some would come twice."""
        request = ratings_pb2.ExportRatingsRequest(parent=requests.ME)
        try:
            yield from self._ratings.ExportRatings(request, timeout=STREAM_S, metadata=self._metadata(True))
        except grpc.RpcError as failed:
            raise error_of(failed) from None

    def import_ratings(self, scores: Iterable[tuple[str, int]]) -> ratings_pb2.ImportRatingsResponse:
        """Gives any number of films their scores; the answer says which were not taken."""
        stream = (requests.imported(movie, score) for movie, score in scores)
        try:
            return self._ratings.ImportRatings(stream, timeout=STREAM_S, metadata=self._metadata(True))
        except grpc.RpcError as failed:
            raise error_of(failed) from None

    def _call(
        self, method: Callable[..., Answer], request: object, *, mine: bool = False, batch: bool = False
    ) -> Answer:
        timeout = self._settings.batch_timeout_s if batch else self._settings.timeout_s
        try:
            return self._try(method, request, timeout, mine)
        except SignInError:
            if not mine or not self._renewable:
                raise
            # It may have been withdrawn before its time.
            self._kept.forget()
            return self._try(method, request, timeout, mine)

    def _try(self, method: Callable[..., Answer], request: object, timeout: float, mine: bool) -> Answer:
        try:
            return method(request, timeout=timeout, metadata=self._metadata(mine))
        except grpc.RpcError as failed:
            raise error_of(failed) from None

    def _pages(
        self,
        method: Callable[..., Any],
        request: Any,
        lines: Callable[[Any], Iterable[Answer]],
        mine: bool = False,
    ) -> Iterator[Answer]:
        request.page_size = self._settings.page_size
        while True:
            page = self._call(method, request, mine=mine)
            yield from lines(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _metadata(self, mine: bool) -> tuple[tuple[str, str], ...]:
        if not mine:
            return ()
        if self._source is None:
            raise no_token()
        with self._lock:
            token = self._kept.get() or self._kept.put(self._source())
        return (("authorization", f"Bearer {token.value}"),)
