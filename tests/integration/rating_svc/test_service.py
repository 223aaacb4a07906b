"""Ratings as their authors use them: two replicas, a worker and a relay as processes, on real stores."""

import asyncio
import time
import uuid
from dataclasses import replace

import pytest
from marquee.ratings.v1 import ratings_pb2 as pb

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import redisdb
from mesh.pipe import Pipe
from mesh.redisdb import RedisConfig
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.config import PendingConfig
from rating_svc.submissions import Position
from tests.support.errors import refused
from tests.support.ratings import Service, User, mine, movie_name, unrated
from tests.support.waiting import eventually

PENDING, ACTIVE, DELETED = pb.Rating.STATE_PENDING, pb.Rating.STATE_ACTIVE, pb.Rating.STATE_DELETED


async def test_a_rating_goes_the_whole_way_from_its_author_to_the_topic_of_changes(
    service: Service, pair: tuple[User, User], movie: int
) -> None:
    user, _ = pair
    answer = await user.rate(movie, 9)
    assert (answer.name, answer.movie) == (f"users/{user.name}/ratings/tt{movie:07d}", movie_name(movie))
    assert (answer.score, answer.state) == (9, PENDING)
    await service.stored(user, movie, 9)

    async def active() -> pb.Rating | None:
        rating = await user.get(movie)
        return rating if rating.state == ACTIVE else None

    rating = await eventually(active)
    assert rating.score == 9
    assert rating.update_time == answer.update_time == rating.create_time
    assert rating.etag == answer.etag
    await user.rate(movie, 4)
    await user.delete(movie)
    expected = [(None, 9), (9, 4), (4, None)]
    joined = [(None, 9), (9, None)]

    async def told() -> bool:
        # Worker batches may bring two submissions down to one change.
        return await service.changes(movie) in (expected, joined)

    await eventually(told)


@pytest.mark.usefixtures("nothing_stored")
async def test_its_author_sees_a_write_at_once_at_every_replica(
    service: Service, pair: tuple[User, User]
) -> None:
    here, there = pair
    rated = [next(unrated) for _ in range(30)]
    for i, number in enumerate(rated):
        await here.rate(number, i % 10 + 1)
        assert await there.score(number) == i % 10 + 1
    await there.rate(rated[0], 10)
    await there.delete(rated[1])
    assert await here.score(rated[0]) == 10
    assert await here.score(rated[1]) is None
    listed = await here.list_all()
    assert [rating.movie for rating in listed] == [
        movie_name(number) for number in [rated[0], *reversed(rated[2:])]
    ]
    assert {rating.state for rating in listed} == {PENDING}
    expected = {movie_name(n): i % 10 + 1 for i, n in enumerate(rated)} | {movie_name(rated[0]): 10}
    del expected[movie_name(rated[1])]
    assert await there.export() == expected
    assert await service.sql("SELECT 1 FROM ratings WHERE user_id = $1", here.name) == []


async def test_nobody_ever_reads_an_old_score_while_writes_become_rows(
    pair: tuple[User, User], movie: int
) -> None:
    here, there = pair
    for i in range(150):
        score = i % 10 + 1
        await here.rate(movie, score)
        assert await there.score(movie) == score
        if i % 7 == 0:
            await asyncio.sleep(0.02)  # now and then the row overtakes the read
        assert (await there.list_page()).ratings[0].score == score


async def test_pending_writes_are_compared_by_epoch_before_offset(stack: Stack) -> None:
    """The log began a new life: its offsets are small again."""
    redis = redisdb.connect(RedisConfig(url=stores(stack, "rating_svc")["MARQUEE_REDIS_URL"], timeout_s=5))
    user, at = f"user-{uuid.uuid4()}", time.time_ns() // 1000
    old, new = PendingWrite(1, 3, Position(1, 900), at), PendingWrite(1, 8, Position(2, 5), at + 1)
    try:
        for order in ((old, new), (new, old)):
            # Each as another replica: what one remembers by itself must not help.
            for one in order:
                await PendingWrites(Pipe(redis, 0.1), PendingConfig()).put(user, [one])
            pending = PendingWrites(Pipe(redis, 0.1), PendingConfig())
            assert await pending.get(user, 1) == (new, True)
            await pending.clear(user, {1: Position(1, 1000)})
            assert await pending.get(user, 1) == (new, True)
            await pending.clear(user, {1: Position(2, 5)})
            assert await pending.get(user, 1) == (None, True)
        mine = PendingWrites(Pipe(redis, 0.1), PendingConfig())
        for one in (new, old):
            await mine.put(user, [one])
        await mine.clear(user, {1: Position(2, 5)})
        assert await mine.get(user, 1) == (new, True)
    finally:
        await redis.aclose()


async def test_of_many_pending_writes_each_is_kept_and_forgotten_by_itself(stack: Stack) -> None:
    """More than one step of Redis takes: some movies twice, some named, some of them repeats."""
    redis = redisdb.connect(RedisConfig(url=stores(stack, "rating_svc")["MARQUEE_REDIS_URL"], timeout_s=5))
    user, at = f"user-{uuid.uuid4()}", time.time_ns() // 1000

    def replica() -> PendingWrites:
        return PendingWrites(Pipe(redis, 0.1), PendingConfig())

    first = [PendingWrite(i, 1 + i % 10, Position(1, i), at, uuid.uuid4()) for i in range(1, 1501)]
    # Its movie is rated again at once; then comes an earlier one late; then both again, by their names.
    later = PendingWrite(7, 2, Position(1, 2000), at + 1, uuid.uuid4())
    late = PendingWrite(8, 3, Position(1, 0), at - 1, uuid.uuid4())
    repeats = [replace(first[0], position=Position(1, 2001)), replace(later, position=Position(1, 2002))]
    try:
        assert await replica().put(user, [*first, later, late]) == [*first, later, late]
        assert await replica().put(user, [*repeats, *repeats]) == [first[0], later, first[0], later]
        expected = {write.movie: write for write in [*first, later]}
        assert await replica().all(user) == (expected, True)
        await replica().clear(user, {movie: Position(1, 1400) for movie in range(1, 2001)})
        assert await replica().all(user) == (
            {movie: write for movie, write in expected.items() if write.position.offset > 1400},
            True,
        )
        await replica().clear(user, {movie: Position(1, 2000) for movie in expected})
        assert await replica().all(user) == ({}, True)
    finally:
        await redis.aclose()


async def test_the_last_of_many_at_once_wins_and_everybody_agrees_which_that_is(
    service: Service, pair: tuple[User, User], movie: int
) -> None:
    here, there = pair
    await asyncio.gather(
        *((here, there)[i % 2].rate(movie, i % 10 + 1) for i in range(60)),
        *((here, there)[i % 2].delete(movie) for i in range(10)),
    )
    final = await here.score(movie)
    assert await there.score(movie) == final
    await service.stored(here, movie, final)
    assert await here.score(movie) == await there.score(movie) == final


async def test_what_is_wrong_is_refused_by_name(
    service: Service, pair: tuple[User, User], movie: int
) -> None:
    user, _ = pair
    cases = {
        "INVALID_SCORE": [user.rate(movie, 0), user.rate(movie, 11), user.rate(movie, -1)],
        "INVALID_REQUEST_ID": [user.rate(movie, 5, "nonsense"), user.delete(movie, "nonsense")],
        "INVALID_RATING_NAME": [
            user.stub.RateMovie(pb.RateMovieRequest(name=name, score=5), **user._call({}))
            for name in ("", "users/me/ratings/", "users/me/ratings/tt1", "users/me/ratings/tt0111161\0",
                         "users/" + "u" * 129 + "/ratings/tt0111161", "users/me/ratings/tt00111161")
        ],
        "NOT_YOUR_RATING": [
            user.stub.GetRating(pb.GetRatingRequest(name="users/bob/ratings/tt0111161"), **user._call({})),
            user.stub.ListRatings(pb.ListRatingsRequest(parent="users/bob"), **user._call({})),
        ],
        "TOKEN_REQUIRED": [user.stub.GetRating(pb.GetRatingRequest(name=mine(movie)), timeout=5)],
        "RATING_NOT_FOUND": [user.get(movie)],
    }  # fmt: skip
    for reason, calls in cases.items():
        for call in calls:  # type: ignore[attr-defined]
            assert (await refused(call)).reason == reason
    strange, _ = service.user("nobody else's name\u00e9".encode().decode("ascii", "ignore") + "/x")
    assert (await refused(strange.get(movie))).reason == "SUBJECT_NOT_ALLOWED"


async def test_one_may_use_ones_own_name_instead_of_me(pair: tuple[User, User], movie: int) -> None:
    user, _ = pair
    name = f"users/{user.name}/ratings/tt{movie:07d}"
    answer = await user.stub.RateMovie(pb.RateMovieRequest(name=name, score=3), **user._call({}))
    assert answer.name == name
    assert await user.score(movie) == 3


async def test_taking_back_is_answered_as_deleted_and_can_be_repeated(
    pair: tuple[User, User], movie: int
) -> None:
    here, there = pair
    await here.rate(movie, 6)
    answer = await here.delete(movie)
    assert (answer.state, answer.score) == (DELETED, 0)
    assert await there.score(movie) is None
    assert (await there.delete(movie)).state == DELETED
    await there.rate(movie, 2)
    assert await here.score(movie) == 2
