"""Reconciliation: what is wrong is found and repaired, and what is only under way is neither."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
import pytest
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

import rating_svc
from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import channel, clock, migrations, names, postgres, rpc
from mesh.channel import ChannelConfig
from mesh.errors import MarqueeError
from mesh.kafka.event_ids import OFFSETS, event_id
from mesh.postgres import PostgresConfig
from ranking_svc import metrics, reconcile
from ranking_svc.model import Change, Histogram
from ranking_svc.rebuild import Rebuilder
from ranking_svc.reconcile import Reconciler
from rating_svc.totals import RatingTotalsService
from tests.support.rankings import FORMULA, NOW, Place, history, place_in, recount
from tests.support.waiting import eventually

PORTION = 7


async def nothing() -> None:
    pass


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


@pytest.fixture
async def place(stack: Stack) -> AsyncIterator[Place]:
    async with place_in(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_PAUSE_S", 0.01)


@pytest.fixture
async def totals(place: Place) -> Totals:
    changes, expected = history(400)
    await place.store.apply(changes)
    return Totals(expected)


@pytest.fixture
async def reconciler(place: Place, totals: Totals) -> AsyncIterator[Reconciler]:
    server = grpc.aio.server()
    descriptor = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
    server.add_generic_rpc_handlers([rpc.handlers(descriptor, totals)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with channel.connect(f"127.0.0.1:{port}", ChannelConfig()) as opened:
        yield Reconciler(place.store, internal_pb2_grpc.RatingTotalsServiceStub(opened), place.counted)
    await server.stop(0)


async def plant(place: Place) -> list[int]:
    """Spoils four aggregates in four ways; returns their movies."""
    async with place.pg.write() as connection:
        await connection.execute("UPDATE scores SET h8 = h8 + 1 WHERE movie = 3")
        await connection.execute("UPDATE scores SET h10 = h10 + 2, h1 = h1 - 1 WHERE movie = 11")
        await connection.execute("DELETE FROM scores WHERE movie = 20")
        await connection.execute("INSERT INTO scores (movie, h5) VALUES (777, 4)")
    return [3, 11, 20, 777]


async def test_what_agrees_is_compared_and_left_alone(reconciler: Reconciler, totals: Totals) -> None:
    found = await reconciler.run(repair=True)
    assert (found.compared, found.differing, found.repaired) == (len(totals.recount), 0, 0)


async def test_planted_differences_are_found(place: Place, reconciler: Reconciler, totals: Totals) -> None:
    planted = await plant(place)
    before = await place.histograms()
    found = await reconciler.run(repair=False)
    assert [one.movie for one in found.mismatches] == planted
    assert (found.differing, found.repaired) == (4, 0)
    for one in found.mismatches:
        assert one.aggregate == before.get(one.movie, (0,) * 10)
        assert one.recount == totals.recount.get(one.movie, (0,) * 10)
    assert await place.histograms() == before


async def test_every_server_tells_when_aggregates_were_last_compared_and_what_is_left(
    place: Place, reconciler: Reconciler
) -> None:
    def told(name: str) -> float:
        return metrics.SERVE.get_sample_value(f"marquee_ranking_last_{name}") or 0.0

    rebuilder = Rebuilder(place.store, place.feed(), place.nudges, FORMULA)
    await plant(place)
    before = clock.now()
    await rebuilder.rebuild()
    await reconciler.run(repair=False)
    await rebuilder.look()
    assert told("verify_mismatches") == 4
    assert abs(told("verify_timestamp_seconds") - before) < 60
    await reconciler.run(repair=True)
    await rebuilder.look()
    assert told("verify_mismatches") == 0
    assert abs(told("rebuild_timestamp_seconds") - before) < 60


async def test_planted_differences_are_repaired(place: Place, reconciler: Reconciler, totals: Totals) -> None:
    await plant(place)
    assert (await reconciler.run(repair=True)).repaired == 4
    assert await place.histograms() == totals.recount
    assert (await reconciler.run(repair=True)).differing == 0


async def test_a_change_that_arrives_meanwhile_is_no_difference(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    late = [Change(10_000 + movie, movie, None, 9, NOW) for movie in (1, 2, 3)]
    ratings = {movie: list(counts) for movie, counts in totals.recount.items()}
    for change in late:
        ratings[change.movie][8] += 1
    totals.recount = {movie: tuple(counts) for movie, counts in ratings.items()}

    async def arrives() -> None:
        if totals.calls == 2:
            await place.store.apply(late)

    totals.before = arrives
    found = await reconciler.run(repair=True)
    assert (found.differing, found.repaired) == (0, 0)
    assert await place.histograms() == totals.recount


async def test_changes_still_in_the_topic_are_waited_for(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    late = Change(10_000, 1, None, 9, NOW)
    ratings = list(totals.recount[1])
    ratings[8] += 1
    totals.recount[1] = tuple(ratings)
    await place.send([late])
    running = asyncio.create_task(reconciler.run(repair=True))
    async with place.aggregating():
        found = await running
    assert (found.differing, found.repaired) == (0, 0)
    assert (await place.histograms())[1] == totals.recount[1]


async def test_an_aggregate_that_comes_right_while_it_is_proved_wrong_is_not_called_wrong(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    late = Change(10_000, 1, None, 9, NOW)
    ratings = list(totals.recount[1])
    ratings[8] += 1
    totals.recount[1] = tuple(ratings)

    async def arrives() -> None:
        # The recount is taken the last time: the aggregate has been read once, without the change.
        if totals.calls == 3:
            await place.store.apply([late])

    totals.before = arrives
    found = await reconciler.run(repair=False)
    assert (found.differing, found.mismatches) == (0, [])


async def test_nothing_is_repaired_while_changes_wait_in_the_outbox(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    await plant(place)
    totals.pending = 5
    found = await reconciler.run(repair=True)
    assert (found.differing, found.repaired) == (4, 0)


async def test_a_change_that_is_in_the_recount_is_not_counted_when_it_comes_after_the_repair(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    late, later = (Change(event_id(2, 3, at), 1, None, 9, NOW) for at in (99, 100))
    elsewhere = Change(event_id(2, 4, 50), 1, None, 9, NOW)
    other = Change(event_id(2, 3, 98), 2, None, 9, NOW)
    ratings = list(totals.recount[1])
    ratings[8] += 1
    totals.recount[1] = tuple(ratings)
    totals.stored = [
        internal_pb2.LogPlace(epoch=1, partition=3, next_offset=OFFSETS),
        internal_pb2.LogPlace(epoch=2, partition=3, next_offset=100),
        internal_pb2.LogPlace(epoch=2, partition=4, next_offset=0),
    ]
    # It has become a dead letter, and so the aggregate lacks it.
    found = await reconciler.run(repair=True)
    assert (found.differing, found.repaired) == (1, 1)
    # It is redriven, with what came after the recount, and what is another movie's.
    await place.send([late, later, elsewhere, other])
    async with place.aggregating():
        await place.counted()
    counts = await place.histograms()
    assert counts[1][8] == totals.recount[1][8] + 2
    assert counts[2][8] == totals.recount[2][8] + 1
    # However often: it is known by its id.
    await place.send([late, later])
    async with place.aggregating():
        await place.counted()
    assert await place.histograms() == counts


async def test_an_aggregate_that_changed_and_came_back_meanwhile_is_not_repaired(place: Place) -> None:
    """The recount that a repair would write may hold the one change and not the other."""
    await place.store.apply([Change(1, 1, None, 5, NOW)])
    seen = (await place.store.counts_of([1]))[1]
    await place.store.apply([Change(2, 1, 5, 6, NOW)])
    await place.store.apply([Change(3, 1, 6, 5, NOW)])
    now = (await place.store.counts_of([1]))[1]
    assert now.counts == seen.counts
    recounted = (0,) * 8 + (1, 0)
    assert not await place.store.repair(1, seen, recounted, [])
    assert await place.histograms() == {1: seen.counts}
    assert await place.store.repair(1, now, recounted, [])
    assert await place.histograms() == {1: recounted}


async def test_nothing_is_repaired_while_the_ratings_are_behind_what_was_counted(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    """Their database failed over, or came from a backup: what it reads again is known here by its id."""
    early, late = (Change(event_id(2, 3, at), 1, None, 9, NOW) for at in (98, 99))
    ratings = list(totals.recount[1])
    ratings[8] += 1
    totals.recount[1] = tuple(ratings)
    await place.store.apply([early, late])
    totals.stored = [internal_pb2.LogPlace(epoch=2, partition=3, next_offset=99)]
    found = await reconciler.run(repair=True)
    assert (found.differing, found.repaired) == (1, 0)
    # It has read on, and its change comes again.
    await place.store.apply([late])
    ratings[8] += 1
    totals.recount[1] = tuple(ratings)
    totals.stored = [internal_pb2.LogPlace(epoch=2, partition=3, next_offset=100)]
    found = await reconciler.run(repair=True)
    assert (found.differing, found.repaired) == (0, 0)
    assert await place.histograms() == totals.recount


async def test_a_right_aggregate_is_left_alone_though_the_replica_of_the_ratings_is_behind(
    place: Place, stack: Stack
) -> None:
    await migrations.migrate(stack.dsn("rating_svc"), Path(rating_svc.__file__).parent / "migrations")
    # As far behind as is allowed.
    ratings = await postgres.connect(
        PostgresConfig(stack.dsn("rating_svc"), (stack.dsn("rating_svc", "postgres-replica"),), max_lag_s=600)
    )
    server = grpc.aio.server()
    descriptor = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
    server.add_generic_rpc_handlers([rpc.handlers(descriptor, RatingTotalsService(ratings))])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    replica = await asyncpg.connect(stack.dsn(SUPERUSER, "postgres-replica"))
    try:
        async with ratings.write() as connection:
            await connection.execute("DELETE FROM ratings")
            await connection.execute("DELETE FROM outbox")
            lsn = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")

        async def replayed() -> bool:
            return bool(await replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", lsn))

        await eventually(replayed)
        await replica.execute("SELECT pg_wal_replay_pause()")
        await eventually(lambda: _paused(replica))
        async with ratings.write() as connection:
            await connection.execute(
                "INSERT INTO ratings "
                "(user_id, movie_id, score, create_time, update_time, log_epoch, log_offset) "
                "VALUES ('ann', 7, 9, now(), now(), 1, 1)"
            )
        await place.store.apply([Change(event_id(1, 0, 1), 7, None, 9, NOW)])
        before = await place.histograms()
        async with channel.connect(f"127.0.0.1:{port}", ChannelConfig()) as opened:
            stub = internal_pb2_grpc.RatingTotalsServiceStub(opened)
            found = await Reconciler(place.store, stub, place.counted).run(repair=True)
        assert await place.histograms() == before
        assert (found.differing, found.repaired) == (0, 0)
    finally:
        await replica.execute("SELECT pg_wal_replay_resume()")
        async with ratings.write() as connection:
            await connection.execute("DELETE FROM ratings")
        await server.stop(0)
        await asyncio.gather(replica.close(), ratings.close())


async def _paused(replica: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return await replica.fetchval("SELECT pg_get_wal_replay_pause_state()") == "paused"


async def test_a_movie_that_changes_in_every_look_is_not_called_wrong(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    await plant(place)

    async def busy() -> None:
        counts = list(totals.recount[3])
        counts[4] += 1
        totals.recount[3] = tuple(counts)

    totals.before = busy
    found = await reconciler.run(repair=True)
    assert [one.movie for one in found.mismatches] == [11, 20, 777]


async def test_more_movies_than_a_portion_are_compared_one_by_one(
    place: Place, reconciler: Reconciler, totals: Totals
) -> None:
    many = {((1, movie), 1 + movie % 10) for movie in range(1000, 4500)}
    await place.store.apply(
        [Change(movie, movie, None, score, NOW) for (_, movie), score in sorted(many, key=lambda r: r[0][1])]
    )
    totals.recount |= recount(many)
    async with place.pg.write() as connection:
        await connection.execute("UPDATE scores SET h1 = h1 + 1 WHERE movie % 2 = 0 AND movie >= 1000")
    found = await reconciler.run(repair=True)
    assert found.compared == len(totals.recount)
    assert (found.differing, found.repaired, len(found.mismatches)) == (1750, 1750, 100)
    assert await place.histograms() == totals.recount


async def test_without_rating_svc_the_caller_is_asked_to_try_again(place: Place) -> None:
    async with channel.connect("127.0.0.1:1", ChannelConfig()) as opened:
        stub = internal_pb2_grpc.RatingTotalsServiceStub(opened)
        with pytest.raises(MarqueeError) as caught:
            await Reconciler(place.store, stub, nothing).run(repair=False)
    assert caught.value.reason == "RATINGS_UNAVAILABLE"


async def test_without_consumers_the_wait_ends_with_a_sentence(place: Place) -> None:
    await place.send([Change(1, 1, None, 9, NOW)])
    with pytest.raises(MarqueeError) as caught:
        await place.counted(timeout_s=0.5)
    assert caught.value.reason == "CHANGES_UNDER_WAY"
