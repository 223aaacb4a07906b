"""A recount of ratings as a test wants it, and aggregates that differ from it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from marquee.ratings.v1 import internal_pb2

from mesh import names, rpc
from ranking_svc.model import Histogram
from tests.support.rankings import Place

PORTION = 7


async def nothing() -> None:
    """What happens before a call is answered, unless a test wants more."""


@dataclass
class Totals:
    """RatingTotalsService over a recount that is given; `before` runs before each call is answered."""

    recount: dict[int, Histogram]
    pending: int = 0
    stored: list[internal_pb2.LogPlace] = field(default_factory=list)
    calls: int = 0
    before: Callable[[], Awaitable[None]] = field(default=nothing)

    async def StreamTotals(
        self, request: internal_pb2.StreamTotalsRequest, context: rpc.Context
    ) -> AsyncIterator[internal_pb2.StreamTotalsResponse]:
        self.calls += 1
        await self.before()
        asked = {names.movie_number(movie) for movie in request.movies} or self.recount.keys()
        movies = sorted(asked & self.recount.keys())
        yield internal_pb2.StreamTotalsResponse(stored=self.stored, outbox_pending=self.pending)
        for start in range(0, len(movies) or 1, PORTION):
            yield internal_pb2.StreamTotalsResponse(
                totals=[
                    internal_pb2.MovieTotals(movie=names.movie_name(movie), histogram=self.recount[movie])
                    for movie in movies[start : start + PORTION]
                ],
                outbox_pending=self.pending,
            )


async def plant(place: Place) -> list[int]:
    """Spoils four aggregates in four ways; returns their movies."""
    async with place.pg.write() as connection:
        await connection.execute("UPDATE scores SET h8 = h8 + 1 WHERE movie = 3")
        await connection.execute("UPDATE scores SET h10 = h10 + 2, h1 = h1 - 1 WHERE movie = 11")
        await connection.execute("DELETE FROM scores WHERE movie = 20")
        await connection.execute("INSERT INTO scores (movie, h5) VALUES (777, 4)")
    return [3, 11, 20, 777]
