"""Aggregates that are wrong are repaired once, and only when that is sure."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

import rating_svc
from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import channel, migrations, postgres
from mesh.channel import ChannelConfig
from mesh.kafka.event_ids import OFFSETS, event_id
from mesh.postgres import PostgresConfig
from ranking_svc.model import Change
from ranking_svc.reconcile import Reconciler
from rating_svc.shards import Shards
from rating_svc.totals import RatingTotalsService
from tests.support.rankings import NOW, Place
from tests.support.recounts import Totals, plant
from tests.support.rpc import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("no_pauses")


async def test_planted_differences_are_repaired(place: Place, reconciler: Reconciler, totals: Totals) -> None:
    await plant(place)
    assert (await reconciler.run(repair=True)).repaired == 4
    assert await place.histograms() == totals.recount
    assert (await reconciler.run(repair=True)).differing == 0


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
    service = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
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
        async with (
            served(service, RatingTotalsService(Shards([ratings]))) as address,
            channel.connect(address, ChannelConfig()) as opened,
        ):
            stub = internal_pb2_grpc.RatingTotalsServiceStub(opened)
            found = await Reconciler(place.store, stub, place.counted).run(repair=True)
        assert await place.histograms() == before
        assert (found.differing, found.repaired) == (0, 0)
    finally:
        await replica.execute("SELECT pg_wal_replay_resume()")
        async with ratings.write() as connection:
            await connection.execute("DELETE FROM ratings")
        await asyncio.gather(replica.close(), ratings.close())


async def _paused(replica: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return await replica.fetchval("SELECT pg_get_wal_replay_pause_state()") == "paused"
