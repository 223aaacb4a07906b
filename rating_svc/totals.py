"""RatingTotalsService: what a recount says, for those who keep sums."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg
from marquee.ratings.v1 import internal_pb2 as pb

from mesh import names
from mesh.errors import unavailable
from mesh.postgres import Postgres
from mesh.rpc import Context
from rating_svc import store

_PORTION: Final = 1000


class RatingTotalsService:
    """The servicer; see `mesh.rpc`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def StreamTotals(
        self, request: pb.StreamTotalsRequest, _context: Context
    ) -> AsyncIterator[pb.StreamTotalsResponse]:
        movies = [names.movie_number(name) for name in request.movies]
        try:
            async with (
                self._postgres.read(fresh=request.fresh) as connection,
                store.totals(connection, movies, _PORTION) as totals,
            ):
                yield pb.StreamTotalsResponse(
                    outbox_pending=totals.waiting,
                    stored=[pb.LogPlace(epoch=e, partition=p, next_offset=at) for e, p, at in totals.stored],
                )
                async for portion in totals.chunks:
                    yield _response(totals.waiting, portion)
        except asyncpg.SerializationError as error:
            # A replica that replays what the snapshot still needs ends the query sooner or later.
            raise unavailable(
                "SNAPSHOT_LOST",
                f"the replica could not keep the snapshot ({error}); ask again",
                retry_after=1,
            ) from error


def _response(waiting: int, portion: list[tuple[int, list[int]]]) -> pb.StreamTotalsResponse:
    return pb.StreamTotalsResponse(
        totals=[pb.MovieTotals(movie=names.movie_name(movie), histogram=counts) for movie, counts in portion],
        outbox_pending=waiting,
    )
