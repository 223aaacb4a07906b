"""Whether a movie exists: asked of movie_svc, remembered, and never a reason to refuse in doubt."""

import random
import time
from collections import OrderedDict
from collections.abc import Collection
from typing import Any, Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from marquee.movies.v1.movies_pb2 import BatchGetMoviesRequest, BatchGetMoviesResponse
from marquee.movies.v1.movies_pb2_grpc import MovieServiceStub

from mesh import identity, names, rules
from mesh.errors import MarqueeError, not_found
from mesh.pause import Pause
from rating_svc.config import MovieCheckConfig
from rating_svc.metrics import MOVIE_CHECKS

BATCH: Final = rules.rule(BatchGetMoviesRequest.DESCRIPTOR, "names").max_items
"""Movies asked about at once, at most: MovieService's own limit."""

_NOT_FOUND: Final = "MOVIE_NOT_FOUND"
_FAILURES: Final = 3
_SPREAD: Final = 0.1

_CACHED = MOVIE_CHECKS.labels("cached")
_EXISTS = MOVIE_CHECKS.labels("exists")
_MISSING = MOVIE_CHECKS.labels("missing")
_UNCHECKED = MOVIE_CHECKS.labels("unchecked")


class Movies:
    """Knows which movies definitely do not exist."""

    def __init__(self, channel: grpc.aio.Channel | None, config: MovieCheckConfig) -> None:
        self._stub: Any = None if channel is None else MovieServiceStub(channel)
        self._config = config
        self._known: OrderedDict[int, tuple[bool, float]] = OrderedDict()
        self._failures = 0
        self._pause = Pause("movie_svc", config.pause_s, "ratings are taken unchecked")

    async def require(self, movie: int) -> None:
        """Refuses a movie that definitely does not exist.

        Raises:
            MarqueeError: NOT_FOUND `MOVIE_NOT_FOUND`.
        """
        if movie in await self.missing((movie,)):
            raise movie_not_found(movie)

    async def missing(self, movies: Collection[int]) -> set[int]:
        """Those that definitely do not exist. Up to `BATCH` at once."""
        now = time.monotonic()
        missing: set[int] = set()
        unknown: list[int] = []
        for movie in movies:
            exists, until = self._known.get(movie, (False, 0.0))
            if until < now:
                unknown.append(movie)
            elif not exists:
                missing.add(movie)
        _CACHED.inc(len(movies) - len(unknown))
        if unknown:
            missing |= await self._ask(unknown)
        return missing

    async def _ask(self, movies: list[int]) -> set[int]:
        if self._stub is None or self._pause.on:
            _UNCHECKED.inc(len(movies))
            return set()
        request = BatchGetMoviesRequest(
            names=[names.movie_name(movie) for movie in movies], read_mask=FieldMask(paths=["name"])
        )
        try:
            answer: BatchGetMoviesResponse = await self._stub.BatchGetMovies(
                request, timeout=self._config.timeout_s
            )
        except grpc.aio.AioRpcError as error:
            _UNCHECKED.inc(len(movies))
            # Where the caller had no more time, that is no fault of movie_svc's.
            if identity.call().time_remaining() != 0:
                self._failed(error)
            return set()
        self._failures = 0
        existing = {names.movie_number(movie.name) for movie in answer.movies}
        missing = {names.movie_number(m.name) for m in answer.missing if m.reason == _NOT_FOUND}
        for movie in existing:
            self._learn(movie, True, self._config.known_ttl_s)
        for movie in missing:
            self._learn(movie, False, self._config.missing_ttl_s)
        _EXISTS.inc(len(existing))
        _MISSING.inc(len(missing))
        _UNCHECKED.inc(len(answer.missing) - len(missing))
        return missing

    def _learn(self, movie: int, exists: bool, ttl_s: float) -> None:
        spread = random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311
        self._known[movie] = (exists, time.monotonic() + ttl_s * spread)
        if len(self._known) > self._config.limit:
            self._known.popitem(last=False)

    def _failed(self, error: grpc.aio.AioRpcError) -> None:
        self._failures += 1
        if self._failures >= _FAILURES:
            # Each rating would wait for the whole time-out, and learn nothing.
            self._pause.begin(f"{error.code().name}: {error.details()}")
            self._failures = 0


def movie_not_found(movie: int) -> MarqueeError:
    """The error for a movie that definitely does not exist."""
    return not_found(_NOT_FOUND, f"there is no movie {names.imdb_id(movie)}")
