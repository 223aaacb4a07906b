"""Requests that come again are answered like the first and count once; none may name another rating."""

import uuid

import grpc
import pytest
from marquee.ratings.v1 import ratings_pb2 as pb

from local.servers.probes import redis_url
from mesh import redisdb
from mesh.redisdb import RedisConfig
from tests.support.ratings import Service, User, mine, movie_name, unrated
from tests.support.waiting import eventually

ACTIVE = pb.Rating.STATE_ACTIVE


async def test_a_repeat_is_answered_like_the_first_and_takes_effect_once(
    service: Service, pair: tuple[User, User], movie: int
) -> None:
    here, there = pair
    request_id = str(uuid.uuid4())
    first = await here.rate(movie, 5, request_id)
    await there.rate(movie, 8)
    again = await there.rate(movie, 5, request_id)
    assert (again.score, again.update_time, again.etag) == (5, first.update_time, first.etag)
    assert await here.score(movie) == 8
    other = next(unrated)
    await here.rate(other, 1)
    await service.stored(here, other, 1)
    await service.stored(here, movie, 8)
    assert await here.score(movie) == await there.score(movie) == 8


async def test_a_repeat_that_nobody_recognised_at_once_shows_what_counts_after_a_while(
    service: Service, pair: tuple[User, User]
) -> None:
    """The first answer was lost, and Redis does not know of it: the log holds the request twice."""
    here, there = pair
    repeated, overwritten, taken_back = movies = [next(unrated) for _ in range(3)]
    ids = [str(uuid.uuid4()) for _ in movies]
    for movie, request_id in zip(movies, ids, strict=True):
        await here.rate(movie, 5, request_id)
    await here.rate(overwritten, 8)
    await here.delete(taken_back)
    await service.stored(here, taken_back, None)
    admin = redisdb.connect(RedisConfig(url=redis_url(service.stack, "redis")))
    try:
        assert await admin.delete(*(f"rating:request:{{{here.name}}}:{each}" for each in ids)) == 3
    finally:
        await admin.aclose()
    for movie, request_id in zip(movies, ids, strict=True):
        await there.rate(movie, 5, request_id)

    async def seen(user: User) -> bool:
        listed = {rating.movie: (rating.score, rating.state) for rating in await user.list_all()}
        one = await user.get(repeated)
        return (one.score, one.state) == (5, ACTIVE) and listed == {
            movie_name(repeated): (5, ACTIVE),
            movie_name(overwritten): (8, ACTIVE),
        }

    for user in pair:
        await eventually(lambda user=user: seen(user), 30, 0.2)
        assert (await user.score(overwritten), await user.score(taken_back)) == (8, None)


async def test_a_request_id_that_named_another_rating_is_refused(
    service: Service, pair: tuple[User, User], movie: int
) -> None:
    here, there = pair
    request_id, other = str(uuid.uuid4()), next(unrated)
    await here.rate(movie, 5, request_id)
    for write in (
        there.rate(movie, 6, request_id),
        there.rate(other, 5, request_id),
        there.delete(movie, request_id),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await write
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "request_id" in str(caught.value.details())
    # Of many, each by itself; and nobody else's is the same.
    requests = [pb.RateMovieRequest(name=mine(other), score=score, request_id=request_id) for score in (3, 4)]
    requests.append(pb.RateMovieRequest(name=mine(other), score=7, request_id=(free := str(uuid.uuid4()))))
    requests.append(pb.RateMovieRequest(name=mine(other), score=8, request_id=free))
    results = (
        await there.stub.BatchRateMovies(
            pb.BatchRateMoviesRequest(parent="users/me", requests=requests), **there._call({})
        )
    ).results
    reused = "REQUEST_ID_REUSED"
    assert [result.reason for result in results] == [reused, reused, "", reused]
    stranger, _ = service.user()
    await stranger.rate(movie, 9, request_id)
    assert (await here.score(movie), await here.score(other), await stranger.score(movie)) == (5, 7, 9)
