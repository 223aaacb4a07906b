"""Reconciliation: what is wrong is found, and what is only under way is not called wrong."""

import asyncio

import pytest
from marquee.ratings.v1 import internal_pb2_grpc

from mesh import channel, clock
from mesh.channel import ChannelConfig
from mesh.errors import MarqueeError
from ranking_svc import metrics
from ranking_svc.model import Change
from ranking_svc.rebuild import Rebuilder
from ranking_svc.reconcile import Reconciler
from tests.support.rankings import FORMULA, NOW, Place, recount
from tests.support.recounts import Totals, nothing, plant

pytestmark = pytest.mark.usefixtures("no_pauses")


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
