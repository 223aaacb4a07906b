"""RatingService: what users do with their own ratings."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from marquee.ratings.v1 import ratings_pb2 as pb
from marquee.rules.v1 import rules_pb2

from mesh import identity, names, rules
from mesh.errors import MarqueeError, invalid, not_found
from mesh.pages import PageTokens
from mesh.rpc import Context
from rating_svc import bulk, merge
from rating_svc.cache import PendingWrites
from rating_svc.movies import Movies
from rating_svc.resources import caller_and_movie, caller_of, message, submitted
from rating_svc.store import RatingStore
from rating_svc.submissions import request_id_of
from rating_svc.writer import Write, Writer

_EXPORT_PAGE: Final = 500
_SCORES: Final = rules.shape(rules_pb2.SHAPE_SCORE)


class RatingService:
    """The servicer; see `mesh.rpc`."""

    def __init__(
        self,
        writer: Writer,
        store: Callable[[str], RatingStore],
        pending: PendingWrites,
        movies: Movies,
        tokens: PageTokens,
    ) -> None:
        """`store` returns where a user's rows are."""
        self._writer = writer
        self._store = store
        self._pending = pending
        self._movies = movies
        self._tokens = tokens
        self._bulk = bulk.Bulk(writer, movies)

    async def RateMovie(self, request: pb.RateMovieRequest, _context: Context) -> pb.Rating:
        user, movie = caller_and_movie(request.name)
        write = Write(movie, request.score, request_id_of(request.request_id))
        await self._movies.require(movie)
        return submitted(user, await self._writer.submit(user, write, "rate"))

    async def DeleteRating(self, request: pb.DeleteRatingRequest, _context: Context) -> pb.Rating:
        user, movie = caller_and_movie(request.name)
        write = Write(movie, None, request_id_of(request.request_id))
        return submitted(user, await self._writer.submit(user, write, "delete"))

    async def GetRating(self, request: pb.GetRatingRequest, _context: Context) -> pb.Rating:
        user, movie = caller_and_movie(request.name)
        pending, redis_asked = await self._pending.get(user, movie)
        try:
            row = await self._store(user).get(user, movie, fresh=not redis_asked)
        except MarqueeError:
            if pending is None:
                raise
            row = None
        shown = merge.current(movie, row, pending)
        if shown is None:
            raise not_found("RATING_NOT_FOUND", f"you have not rated {names.movie_name(movie)}")
        return message(user, shown)

    async def ListRatings(self, request: pb.ListRatingsRequest, _context: Context) -> pb.ListRatingsResponse:
        user = caller_of(request.parent)
        scores = _score_range(request)
        size = rules.page_size(request)
        cursor = self._tokens.decode(request.page_token, user, scores)
        before = None if cursor is None else (cursor[0], cursor[1])
        pending, redis_asked = await self._pending.all(user)
        pending_rows, rows = await self._store(user).page(
            user, list(pending), before, scores, size + 1, fresh=not redis_asked
        )
        found = merge.page(rows, pending, pending_rows, before, scores)
        answer = pb.ListRatingsResponse(ratings=[message(user, shown) for shown in found[:size]])
        if len(found) > size:
            last = found[size - 1]
            answer.next_page_token = self._tokens.encode([last.update_us, last.movie], user, scores)
        return answer

    async def BatchRateMovies(
        self, request: pb.BatchRateMoviesRequest, _context: Context
    ) -> pb.BatchRateMoviesResponse:
        user = caller_of(request.parent)
        items = [bulk.batch_item(item, user, i) for i, item in enumerate(request.requests)]
        return pb.BatchRateMoviesResponse(results=await self._bulk.rate(user, items, "batch"))

    async def ImportRatings(
        self, requests: AsyncIterator[pb.ImportRatingsRequest], _context: Context
    ) -> pb.ImportRatingsResponse:
        user = identity.require().subject
        return await self._bulk.take_all(user, requests)

    async def ExportRatings(
        self, request: pb.ExportRatingsRequest, _context: Context
    ) -> AsyncIterator[pb.Rating]:
        user = caller_of(request.parent)
        after = 0
        while True:
            # Asked again for each page: what has left the pending writes since is in the rows by then.
            pending, redis_asked = await self._pending.all(user)
            rows = await self._store(user).after(user, after, _EXPORT_PAGE, fresh=not redis_asked)
            until = rows[-1].movie if len(rows) == _EXPORT_PAGE else None
            for shown in merge.in_order(rows, pending, after, until):
                yield message(user, shown)
            if until is None:
                return
            after = until


def _score_range(request: pb.ListRatingsRequest) -> tuple[int, int]:
    lowest = request.min_score or _SCORES.gte
    highest = request.max_score or _SCORES.lte
    if lowest > highest:
        raise invalid("min_score", f"{lowest} is above max_score, which is {highest}", "INVALID_SCORE")
    return lowest, highest
