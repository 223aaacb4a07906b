"""Ratings as their authors use them: two replicas, a worker and a relay as processes, on real stores."""

import asyncio
import itertools
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from confluent_kafka import Consumer, TopicPartition
from marquee.ratings.v1 import ratings_pb2 as pb
from marquee.ratings.v1.events_pb2 import RatingChanged

from local.servers.probes import redis_url
from local.servers.services import stores
from local.stack.layout import Stack
from mesh import redisdb
from mesh.pipe import Pipe
from mesh.redisdb import RedisConfig
from rating_svc import store, topics
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.config import PendingConfig
from rating_svc.submissions import Position
from tests.support.errors import refused
from tests.support.ratings import RatingProcess, User, mine, movie_name, totals
from tests.support.waiting import eventually

PENDING, ACTIVE, DELETED = pb.Rating.STATE_PENDING, pb.Rating.STATE_ACTIVE, pb.Rating.STATE_DELETED

_numbers = itertools.count(random.randrange(1, 5_000) * 100_000)


class Service:
    """rating_svc in four processes."""

    def __init__(self, stack: Stack, logs: Path) -> None:
        self.stack = stack
        settle = {"MARQUEE_RATING_SETTLE_S": "3"}
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


@pytest.fixture(scope="module")
async def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    made = Service(stack, tmp_path_factory.mktemp("ratings"))
    # One first: it creates the schema and the topics.
    async with made.replicas[0], made.replicas[1], made.worker, made.relay:
        made.channels = [grpc.aio.insecure_channel(replica.address) for replica in made.replicas]
        yield made
        for channel in made.channels:
            await channel.close()


@pytest.fixture
def movie() -> int:
    return next(_numbers)


@pytest.fixture
def pair(service: Service) -> tuple[User, User]:
    return service.user()


@pytest.fixture
async def nothing_stored(service: Service) -> AsyncIterator[None]:
    """The worker stands still: what is submitted stays in the log."""
    service.worker.signal(signal.SIGSTOP)
    yield
    service.worker.signal(signal.SIGCONT)


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
    rated = [next(_numbers) for _ in range(30)]
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
    other = next(_numbers)
    await here.rate(other, 1)
    await service.stored(here, other, 1)
    await service.stored(here, movie, 8)
    assert await here.score(movie) == await there.score(movie) == 8


async def test_a_repeat_that_nobody_recognised_at_once_shows_what_counts_after_a_while(
    service: Service, pair: tuple[User, User]
) -> None:
    """The first answer was lost, and Redis does not know of it: the log holds the request twice."""
    here, there = pair
    repeated, overwritten, taken_back = movies = [next(_numbers) for _ in range(3)]
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
    request_id, other = str(uuid.uuid4()), next(_numbers)
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


async def test_pending_writes_are_compared_by_epoch_before_offset(stack: Stack) -> None:
    """The log began a new life: its offsets are small again."""
    redis = redisdb.connect(RedisConfig(url=stores(stack, "rating_svc")["MARQUEE_REDIS_URL"]))
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


async def test_a_batch_takes_what_is_good_and_says_what_is_not(
    service: Service, pair: tuple[User, User]
) -> None:
    user, _ = pair
    numbers = [next(_numbers) for _ in range(4)]
    requests = [
        pb.RateMovieRequest(name=mine(numbers[0]), score=7),
        pb.RateMovieRequest(name=mine(numbers[1]), score=11),
        pb.RateMovieRequest(name="users/somebody/ratings/tt0111161", score=5),
        pb.RateMovieRequest(name="nonsense", score=5),
        pb.RateMovieRequest(name=mine(numbers[2]), score=5, request_id="nonsense"),
        pb.RateMovieRequest(name=mine(numbers[3]), score=5, request_id=str(uuid.uuid4())),
        pb.RateMovieRequest(name=mine(numbers[0]), score=8),
    ]
    answer = await user.stub.BatchRateMovies(
        pb.BatchRateMoviesRequest(parent="users/me", requests=requests), **user._call({})
    )
    assert [result.name for result in answer.results] == [request.name for request in requests]
    assert [result.reason for result in answer.results] == [
        "",
        "INVALID_SCORE",
        "NOT_YOUR_RATING",
        "INVALID_RATING_NAME",
        "INVALID_REQUEST_ID",
        "",
        "",
    ]
    assert all(result.message for result in answer.results if result.reason)
    assert await user.export() == {movie_name(numbers[0]): 8, movie_name(numbers[3]): 5}
    too_many = pb.BatchRateMoviesRequest(parent="users/me", requests=[requests[0]] * 501)
    details = await refused(user.stub.BatchRateMovies(too_many, **user._call({})))
    assert (details.code, details.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["requests"])


async def test_an_import_of_thousands_comes_out_again(pair: tuple[User, User]) -> None:
    here, there = pair
    first = next(_numbers) + 50_000
    wishes = [(first + i, i % 12) for i in range(3000)]  # scores 0 and 11 are none

    async def messages() -> AsyncIterator[pb.ImportRatingsRequest]:
        for number, score in wishes:
            yield pb.ImportRatingsRequest(movie=movie_name(number), score=score)
        yield pb.ImportRatingsRequest(movie="movies/x" + "y" * 100_000, score=5)

    answer = await here.stub.ImportRatings(messages(), **here._call({"timeout": 60}))
    assert (answer.imported, answer.failed) == (2500, 501)
    assert len(answer.failures) == 100
    assert {failure.reason for failure in answer.failures} == {"INVALID_SCORE"}
    expected = {movie_name(number): score for number, score in wishes if 1 <= score <= 10}
    assert await there.export() == expected
    assert len(await there.list_all(page_size=1000)) == 2500


async def test_a_list_can_be_narrowed_by_score_and_walked_in_pages(
    service: Service, pair: tuple[User, User]
) -> None:
    here, there = pair
    numbers = [next(_numbers) for _ in range(25)]
    for i, number in enumerate(numbers):
        await here.rate(number, i % 10 + 1)
    await service.stored(here, numbers[-1], 24 % 10 + 1)
    newest_first = [(n, i % 10 + 1) for i, n in reversed(list(enumerate(numbers)))]
    for size in (1, 4, 100):
        listed = await there.list_all(page_size=size, min_score=3, max_score=7)
        assert [(rating.movie, rating.score) for rating in listed] == [
            (movie_name(number), score) for number, score in newest_first if 3 <= score <= 7
        ]
    token = (await here.list_page(page_size=3)).next_page_token
    other, _ = service.user()
    for call in (
        here.list_page(page_size=3, page_token=token, min_score=2),
        other.list_page(page_size=3, page_token=token),
        here.list_page(page_token=token[:-2] + "AA"),
        here.list_page(page_token="x" * 5000),
    ):
        details = await refused(call)
        assert (details.reason, details.fields) == ("INVALID_PAGE_TOKEN", ["page_token"])
    details = await refused(here.list_page(min_score=8, max_score=3))
    assert details.fields == ["min_score"]


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


async def test_totals_are_what_a_recount_gives(service: Service, pair: tuple[User, User]) -> None:
    numbers = [next(_numbers) for _ in range(3)]
    users = [service.user()[0] for _ in range(12)]
    await asyncio.gather(*(user.rate(n, i % 10 + 1) for i, user in enumerate(users) for n in numbers[:2]))
    await users[0].delete(numbers[1])
    await service.stored(users[0], numbers[1], None)
    for i, user in enumerate(users[1:], start=1):
        await service.stored(user, numbers[1], i % 10 + 1)
    everything = await service.sql(
        "SELECT movie_id, score, count(*) AS votes FROM ratings WHERE score IS NOT NULL GROUP BY 1, 2"
    )
    expected: dict[str, list[int]] = {}
    for row in everything:
        expected.setdefault(movie_name(row["movie_id"]), [0] * 10)[row["score"] - 1] = row["votes"]

    async def agrees() -> bool:  # the replica it is read from may be a moment behind
        return await totals(service.channels[0]) == expected

    await eventually(agrees)
    some = await totals(service.channels[0], numbers)
    assert some == {movie_name(n): expected[movie_name(n)] for n in numbers[:2]}
    assert some[movie_name(numbers[1])] == [1, 2, 1, 1, 1, 1, 1, 1, 1, 1]


async def test_a_reader_of_totals_that_goes_away_leaves_no_connection_behind(service: Service) -> None:
    async def held() -> int:
        rows = await service.sql(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'rating_svc' AND state LIKE 'idle in trans%'"
        )
        return len(rows)

    from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

    for _ in range(20):
        call = internal_pb2_grpc.RatingTotalsServiceStub(service.channels[0]).StreamTotals(
            internal_pb2.StreamTotalsRequest(), timeout=10
        )
        await call.read()
        call.cancel()

    async def none() -> bool:
        return await held() == 0

    await eventually(none)
    assert await totals(service.channels[0])


async def test_lists_and_totals_walk_an_index(service: Service) -> None:
    connection = await asyncpg.connect(service.stack.dsn("rating_svc"))
    try:
        async with connection.transaction():
            # As asyncpg's prepared statements come to be run; and tables of tests are too small for an index.
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute("SET LOCAL enable_seqscan = off")
            plans = {}
            for name, query in (
                ("list", store.LIST), ("all", store.TOTALS_OF_ALL), ("some", store.TOTALS_OF_SOME)
            ):  # fmt: skip
                await connection.execute(f"PREPARE q_{name} AS {query}")
            arguments = {
                "list": "('ann', '{1,2}', '2030-01-01', 5, 3, 8, 51)",
                "all": "",
                "some": "('{1,2}')",
            }
            for name, given in arguments.items():
                if name != "list":
                    await connection.execute(store.TOTALS_PLAN)
                rows = await connection.fetch(f"EXPLAIN EXECUTE q_{name} {given}")
                plans[name] = "\n".join(row[0] for row in rows)
    finally:
        await connection.close()
    # Only the user's own partition, in the order of the page: the limit ends the walk.
    assert "user_id_update_time_movie_id_idx" in plans["list"]
    assert "Sort  (" not in plans["list"]
    assert "Subplans Removed: 15" in plans["list"]
    # Grouped in the order of the index: the first totals go out before the last are counted.
    assert "Only Scan using ratings_00_movie_id_score_idx" in plans["all"]
    assert "GroupAggregate" in plans["all"]
    assert "Sort  (" not in plans["all"]
    assert "movie_id_score_idx" in plans["some"]


def _changes(bootstrap: str, movie: int) -> list[tuple[int | None, int | None]]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False, "log_level": 0}
    )
    try:
        partitions = consumer.list_topics(topics.CHANGED, timeout=5).topics[topics.CHANGED].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topics.CHANGED, p), 5) for p in partitions}
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
