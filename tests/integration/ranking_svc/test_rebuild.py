"""A rebuild measures the mean again, and every server shows its charts in one step."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest

from local.stack.layout import Stack
from mesh.errors import MarqueeError
from mesh.tasks import end
from ranking_svc.config import FormulaConfig
from ranking_svc.model import Facts
from ranking_svc.rebuild import Rebuilder
from tests.support.rankings import FORMULA, NOW, Place, caught_up, history, listed
from tests.support.waiting import eventually

SHAWSHANK = Facts(111161, "The Shawshank Redemption", 1994, 1, ("Drama",), 28_341_469)


async def test_a_rebuild_measures_the_mean_and_is_served_in_one_step(place: Place) -> None:
    changes, expected = history(400)
    await place.store.apply(changes)
    feed = place.feed()
    await feed.reload()
    assert feed.chart.formula.generation == 0
    chart, _ = await Rebuilder(place.store, feed, place.nudges, FORMULA).rebuild()
    total = sum(score * count for h in expected.values() for score, count in enumerate(h, 1))
    votes = sum(map(sum, expected.values()))
    assert chart.formula.prior_mean == total / votes
    assert chart.formula.generation == 1
    assert feed.chart is chart
    other = place.feed()
    await other.reload()
    assert listed(other) == listed(feed)


async def test_a_rebuild_takes_over_whatever_the_database_says(place: Place) -> None:
    await place.store.apply(history(300)[0])
    await place.store.put_facts({number: (replace(SHAWSHANK, movie=number), NOW) for number in (1, 2, 900)})
    feed = place.feed()
    await feed.reload()
    async with place.pg.write() as connection:
        # As after a restore: rows that are gone, and older ones in the place of newer ones.
        await connection.execute("DELETE FROM scores WHERE movie IN (1, 3)")
        await connection.execute("DELETE FROM facts WHERE movie = 900")
        await connection.execute("UPDATE scores SET h7 = h7 + 1, changed = '3' WHERE movie = 2")
        await connection.execute("UPDATE life SET since = clock_timestamp()")
    await Rebuilder(place.store, feed, place.nudges, FORMULA).rebuild()
    anew = place.feed()
    await anew.reload()
    assert listed(feed) == listed(anew)
    assert feed.chart.votes == anew.chart.votes
    assert feed.chart.get(900) is None


async def test_charts_are_whole_at_every_moment_of_a_rebuild(place: Place) -> None:
    changes, expected = history(2000, movies=1500)
    await place.store.apply(changes)
    feed = place.feed()
    await feed.reload()
    rebuilder = Rebuilder(place.store, feed, place.nudges, FORMULA)
    seen = set()

    async def read() -> None:
        while True:
            seen.add(len(list(feed.chart.orders.top_rated.after(None))))
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    for _ in range(3):
        await rebuilder.rebuild()
    reader.cancel()
    assert seen == {len(expected)}


async def test_other_servers_follow_to_the_new_generation(place: Place) -> None:
    await place.store.apply(history(100)[0])
    feeds = [place.feed(), place.feed()]
    for feed in feeds:
        await feed.reload()
    await Rebuilder(place.store, feeds[0], place.nudges, FORMULA).rebuild()

    async def followed() -> bool:
        await feeds[1].refresh()
        return feeds[1].chart.formula == feeds[0].chart.formula

    await eventually(followed)


async def test_one_of_several_servers_rebuilds_when_it_is_due(place: Place) -> None:
    quick = FormulaConfig(rebuild_interval_s=3600, rebuild_check_s=0.05)
    feeds = [place.feed() for _ in range(4)]
    for feed in feeds:
        await feed.reload()
    rebuilders = [Rebuilder(place.store, feed, place.nudges, quick) for feed in feeds]
    tasks = [asyncio.create_task(rebuilder.run()) for rebuilder in rebuilders]
    try:

        async def generation() -> int:
            state = await place.store.formula(fresh=True)
            return state.formula.generation if state else 0

        await eventually(lambda: _equals(generation, 1))
        # Nothing is due any more: many more looks leave it as it is.
        await asyncio.sleep(0.5)
        assert await generation() == 1
        await place.store.apply(history(100)[0])
        # One after the other, and none measures again what one that was sooner has measured.
        for feed in feeds:
            await caught_up(place, feed)
            await eventually(lambda: _equals(generation, 2))
            await asyncio.sleep(0.2)
        assert await generation() == 2
    finally:
        await end(tasks)


async def test_of_two_releases_the_setting_of_the_newer_one_is_put_in_force_once(place: Place) -> None:
    def rebuilder(prior_votes: float) -> Rebuilder:
        config = FormulaConfig(prior_votes=prior_votes, rebuild_check_s=60)
        return Rebuilder(place.store, place.feed(), place.nudges, config)

    async def in_force() -> tuple[int, float]:
        state = await place.store.formula(fresh=True)
        assert state is not None
        return state.formula.generation, state.formula.prior_votes

    old, new = [rebuilder(20.0), rebuilder(20.0)], [rebuilder(30.0), rebuilder(30.0)]
    for one in old:
        await one._feed.reload()
        await one.look()
    assert await in_force() == (1, 20.0)
    for one in new:
        await one._feed.reload()
    for _ in range(10):
        for one in (*new, *old):
            await one.look()
    assert await in_force() == (2, 30.0)
    # A process of the older release that starts again is no newer for that.
    late = rebuilder(20.0)
    await late._feed.reload()
    await late.look()
    assert await in_force() == (2, 30.0)
    # The release is rolled back: nobody with the newer setting is alive any more.
    async with place.pg.write() as connection:
        await connection.execute(
            "UPDATE formula_settings SET alive_until = now() - interval '1 s' WHERE prior_votes = 30"
        )
    for _ in range(10):
        for one in old:
            await one.look()
    assert await in_force() == (3, 20.0)


async def _equals(value: Callable[[], Awaitable[int]], expected: int) -> bool:
    return await value() == expected


async def test_without_any_vote_there_is_a_formula_all_the_same(place: Place) -> None:
    formula = await place.store.measure(20.0, 60.0)
    assert formula is not None
    assert formula.prior_mean == 5.5


async def test_only_one_rebuild_runs_at_a_time(place: Place, stack: Stack) -> None:
    other = await asyncpg.connect(stack.dsn("ranking_svc"))
    try:
        await other.execute("SELECT pg_advisory_lock(hashtext('rebuild'))")
        with pytest.raises(MarqueeError) as caught:
            await Rebuilder(place.store, place.feed(), place.nudges, FORMULA).rebuild()
        assert caught.value.reason == "REBUILD_UNDER_WAY"
    finally:
        await other.close()
