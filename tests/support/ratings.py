"""rating_svc's processes for tests, and the users who call them."""

import asyncio
import itertools
import random
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from confluent_kafka import Consumer, TopicPartition
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc, ratings_pb2, ratings_pb2_grpc
from marquee.ratings.v1.events_pb2 import RatingChanged

from local.stack.layout import Stack
from mesh.identity import SUBJECT_HEADER
from rating_svc import topics
from tests.support.process import ServiceProcess
from tests.support.waiting import eventually


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


unrated = itertools.count(random.randrange(1, 5_000) * 100_000)
"""Movies that nobody has rated, one after the other."""


class Service:
    """rating_svc in four processes."""

    def __init__(self, stack: Stack, logs: Path) -> None:
        self.stack = stack
        # What is pending is shared only while Redis answers in time, however busy the machine is.
        settle = {"MARQUEE_RATING_SETTLE_S": "3", "MARQUEE_REDIS_TIMEOUT_S": "5"}
        self.replicas = [RatingProcess(stack, "serve", logs, **settle) for _ in range(2)]
        self.worker = RatingProcess(stack, "worker", logs, **settle)
        self.relay = RatingProcess(stack, "relay", logs)
        self.channels: list[grpc.aio.Channel] = []

    def user(self, name: str = "") -> tuple[User, User]:
        """A user, at the one replica and at the other."""
        name = name or f"user-{uuid.uuid4()}"
        return User(self.channels[0], name), User(self.channels[1], name)

    async def sql(self, query: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.stack.dsn("rating_svc"))
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def stored(self, user: User, movie: int, score: int | None) -> None:
        """Waits until a rating is in the database."""

        async def there() -> bool:
            rows = await self.sql(
                "SELECT score FROM ratings WHERE user_id = $1 AND movie_id = $2", user.name, movie
            )
            return [row["score"] for row in rows] == [score]

        await eventually(there)

    async def changes(self, movie: int) -> list[tuple[int | None, int | None]]:
        """What the topic of changes says of a movie."""
        return await asyncio.to_thread(_changes, self.stack.kafka_bootstrap, movie)


def _changes(bootstrap: str, movie: int) -> list[tuple[int | None, int | None]]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False, "log_level": 0}
    )
    try:
        partitions = consumer.list_topics(topics.CHANGED, timeout=30).topics[topics.CHANGED].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topics.CHANGED, p), 30) for p in partitions}
        left = {p: high for p, (low, high) in ends.items() if low < high}
        consumer.assign([TopicPartition(topics.CHANGED, p, ends[p][0]) for p in left])
        found = []
        while left:
            for message in consumer.consume(500, 0.2):
                event = RatingChanged.FromString(message.value())
                if event.movie == movie_name(movie):
                    found.append(
                        (
                            event.event_id,
                            event.old_score if event.HasField("old_score") else None,
                            event.new_score if event.HasField("new_score") else None,
                        )
                    )
                if message.offset() + 1 >= left.get(message.partition(), 0):
                    left.pop(message.partition(), None)
        return [(old, new) for _, old, new in sorted(found)]
    finally:
        consumer.close()
