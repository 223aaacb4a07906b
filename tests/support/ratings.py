"""rating_svc's processes for tests, and the users who call them."""

from pathlib import Path
from typing import Any

import grpc
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc, ratings_pb2, ratings_pb2_grpc

from local.stack.layout import Stack
from mesh.identity import SUBJECT_HEADER
from tests.support.process import ServiceProcess


class RatingProcess(ServiceProcess):
    """A process of rating_svc, in one of its roles."""

    def __init__(self, stack: Stack, role: str, logs: Path, **environment: str) -> None:
        super().__init__(stack, "rating_svc", role, logs, **environment)


class User:
    """A user of a replica, calling it as the edge does."""

    def __init__(self, channel: grpc.aio.Channel, name: str, timeout_s: float = 10.0) -> None:
        self.name = name
        self._metadata = ((SUBJECT_HEADER, name),)
        self._timeout_s = timeout_s
        self.stub = ratings_pb2_grpc.RatingServiceStub(channel)

    async def rate(self, movie: int, score: int, request_id: str = "", **call: Any) -> ratings_pb2.Rating:
        request = ratings_pb2.RateMovieRequest(name=mine(movie), score=score, request_id=request_id)
        return await self.stub.RateMovie(request, **self._call(call))

    async def delete(self, movie: int, request_id: str = "", **call: Any) -> ratings_pb2.Rating:
        request = ratings_pb2.DeleteRatingRequest(name=mine(movie), request_id=request_id)
        return await self.stub.DeleteRating(request, **self._call(call))

    async def get(self, movie: int, **call: Any) -> ratings_pb2.Rating:
        return await self.stub.GetRating(ratings_pb2.GetRatingRequest(name=mine(movie)), **self._call(call))

    async def score(self, movie: int) -> int | None:
        """The score; None if there is none."""
        try:
            return (await self.get(movie)).score
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return None

    async def list_page(self, **fields: Any) -> ratings_pb2.ListRatingsResponse:
        request = ratings_pb2.ListRatingsRequest(parent="users/me", **fields)
        return await self.stub.ListRatings(request, **self._call({}))

    async def list_all(self, page_size: int = 7, **fields: Any) -> list[ratings_pb2.Rating]:
        """All pages of the list."""
        found: list[ratings_pb2.Rating] = []
        token = ""
        while True:
            page = await self.list_page(page_size=page_size, page_token=token, **fields)
            found += page.ratings
            token = page.next_page_token
            if not token:
                return found

    async def export(self) -> dict[str, int]:
        """All ratings: score by movie."""
        stream = self.stub.ExportRatings(
            ratings_pb2.ExportRatingsRequest(parent="users/me"), **self._call({})
        )
        return {rating.movie: rating.score async for rating in stream}

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": self._metadata, "timeout": self._timeout_s, **call}


async def totals(channel: grpc.aio.Channel, movies: list[int] | None = None) -> dict[str, list[int]]:
    """What StreamTotals returns: histogram by movie."""
    request = internal_pb2.StreamTotalsRequest(movies=[movie_name(m) for m in movies or ()])
    stream = internal_pb2_grpc.RatingTotalsServiceStub(channel).StreamTotals(request, timeout=60)
    return {total.movie: list(total.histogram) async for answer in stream for total in answer.totals}


def mine(movie: int) -> str:
    return f"users/me/ratings/tt{movie:07d}"


def movie_name(movie: int) -> str:
    return f"movies/tt{movie:07d}"
