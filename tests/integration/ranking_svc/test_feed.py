"""Charts in memory follow the database: every change, whoever commits first, with and without Redis."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import asyncpg
import pytest

from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import postgres
from mesh.errors import MarqueeError
from mesh.tasks import end
from ranking_svc.feed import Feed
from ranking_svc.horizon import Horizon
from ranking_svc.model import Change, Facts
from ranking_svc.store import Store
from ranking_svc.store_charts import News, Snapshot
from ranking_svc.watch import Watchers
from tests.support.rankings import CHARTS, FORMULA, NOW, Place, caught_up, history, listed
from tests.support.waiting import eventually

SHAWSHANK = Facts(111161, "The Shawshank Redemption", 1994, 1, ("Drama",), 28_341_469)


async def test_before_the_first_load_calls_are_asked_to_wait(place: Place) -> None:
    with pytest.raises(MarqueeError) as caught:
        _ = place.feed().chart
    assert caught.value.reason == "CHARTS_NOT_READY"


async def test_following_changes_gives_what_loading_anew_gives(place: Place) -> None:
    changes, _ = history(500)
    feed = place.feed()
    await feed.refresh()
    for start in range(0, len(changes), 100):
        await place.store.apply(changes[start : start + 100])
        await feed.refresh()
    await caught_up(place, feed)
    anew = place.feed()
    await anew.reload()
    assert listed(feed) == listed(anew)
    assert feed.chart.votes == anew.chart.votes


async def test_a_change_that_is_committed_late_is_not_missed(place: Place, stack: Stack) -> None:
    feed = place.feed()
    await place.store.apply([Change(1, 1, None, 5, NOW)])
    await caught_up(place, feed)
    slow = await asyncpg.connect(stack.dsn("ranking_svc"))
    try:
        under_way = slow.transaction()
        await under_way.start()
        await slow.execute("INSERT INTO scores (movie, h9) VALUES (2, 3)")
        # Younger transactions commit and are seen while the older one is under way.
        for number in range(3, 6):
            await place.store.apply([Change(number, number, None, 7, NOW)])
            await caught_up(place, feed)
        assert feed.chart.get(2) is None
        await under_way.commit()
    finally:
        await slow.close()
    await caught_up(place, feed)
    entry = feed.chart.get(2)
    assert entry is not None
    assert entry.votes == 3


async def test_of_two_consumers_the_one_that_began_sooner_and_ends_later_is_shown(
    place: Place, stack: Stack
) -> None:
    feed = place.feed()
    await place.store.apply([Change(1, 1, None, 5, NOW), Change(2, 2, None, 5, NOW)])
    await caught_up(place, feed)
    blocker = await asyncpg.connect(stack.dsn("ranking_svc"))
    try:
        async with blocker.transaction():
            await blocker.execute("UPDATE scores SET h5 = h5 WHERE movie = 1")
            older = asyncio.create_task(
                place.store.apply([Change(3, 1, None, 6, NOW), Change(4, 2, None, 6, NOW)])
            )
            await eventually(lambda: _waits_for_a_lock(blocker))
            await place.store.apply([Change(5, 2, None, 7, NOW)])
            await caught_up(place, feed)
        await older
    finally:
        await blocker.close()
    await caught_up(place, feed)
    entry = feed.chart.get(2)
    assert entry is not None
    assert entry.votes == 3


async def _waits_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


class Counting(Store):
    """Counts what is read for charts: all of it, a portion, or what has changed."""

    def __init__(self, pg: postgres.Postgres) -> None:
        super().__init__(pg)
        self.snapshots = 0
        self.rows = 0

    def snapshot(self, *, fresh: bool = False) -> AbstractAsyncContextManager[Snapshot]:  # type: ignore[override]
        self.snapshots += 1
        return super().snapshot(fresh=fresh)

    async def news(self, horizon: Horizon) -> News:
        found = await super().news(horizon)
        self.rows += len(found.tallies) + len(found.facts)
        return found


async def test_a_long_transaction_of_somebody_else_lets_nothing_be_read_twice(
    place: Place, stack: Stack
) -> None:
    store = Counting(place.pg)
    feed = Feed(store, Watchers(10), CHARTS, FORMULA)
    await feed.refresh()
    # As a migration or a dump that takes hours: every look since is behind it.
    other = await asyncpg.connect(stack.dsn(SUPERUSER))
    try:
        async with other.transaction():
            await other.fetchval("SELECT pg_current_xact_id()")
            changes, _ = history(1000, movies=300)
            await place.store.apply(changes)
            await caught_up(place, feed)
            store.rows = 0
            for _ in range(10):
                await feed.refresh()
            assert store.rows == 0
            await place.store.apply([Change(2000, 1, None, 5, NOW)])
            await caught_up(place, feed)
            assert store.rows == 1
    finally:
        await other.close()


async def test_a_new_generation_is_taken_without_reading_the_movies_again(place: Place) -> None:
    await place.store.apply(history(2000, movies=1500)[0])
    store = Counting(place.pg)
    feeds = [Feed(store, Watchers(10), CHARTS, FORMULA) for _ in range(3)]
    for feed in feeds:
        await caught_up(place, feed)
    store.snapshots = store.rows = 0
    formula = await place.store.measure(20.0, 60.0)
    assert formula is not None

    async def all_follow() -> bool:
        for feed in feeds:
            await feed.refresh()
        return all(feed.chart.formula == formula for feed in feeds)

    await eventually(all_follow)
    assert (store.snapshots, store.rows) == (0, 0)
    anew = place.feed()
    await anew.reload()
    assert all(listed(feed) == listed(anew) for feed in feeds)


async def test_charts_are_compared_with_the_database_round_and_round(place: Place) -> None:
    changes, _ = history(4000, movies=2500)
    await place.store.apply(changes)
    await place.store.put_facts({number: (replace(SHAWSHANK, movie=number), NOW) for number in (1, 9000)})
    feed = place.feed()
    await caught_up(place, feed)
    async with place.pg.write() as connection:
        # By hand: nothing tells a server that these rows have changed, or are gone.
        await connection.execute("UPDATE scores SET h7 = h7 + 1 WHERE movie = 2")
        await connection.execute("DELETE FROM scores WHERE movie IN (3, 2400)")
        await connection.execute("DELETE FROM facts WHERE movie = 9000")
        await connection.execute("UPDATE facts SET title = 'By hand' WHERE movie = 1")
    # The replica has all of it once it has this.
    await place.store.apply([Change(100_000, 5000, None, 7, NOW)])

    async def there() -> bool:
        await feed.refresh()
        return feed.chart.get(5000) is not None

    await eventually(there)
    assert feed.chart.get(9000) is not None
    for _ in range(10):
        await feed.compare()
    anew = place.feed()
    await anew.reload()
    assert listed(feed) == listed(anew)
    assert feed.chart.votes == anew.chart.votes
    entry = feed.chart.get(1)
    assert entry is not None
    assert entry.facts is not None
    assert entry.facts.title == "By hand"


async def test_a_nudge_brings_a_change_long_before_the_polling_interval(place: Place) -> None:
    slow = replace(CHARTS, poll_interval_s=60.0)
    feed = Feed(place.store, Watchers(10), slow, FORMULA)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(place.nudges.listen(feed.nudge))]
    try:

        async def loaded() -> bool:
            try:
                return feed.chart is not None
            except MarqueeError:
                return False

        await eventually(loaded)
        await eventually(lambda: _subscribed(place))
        await place.store.apply([Change(1, 1, None, 5, NOW)])

        async def there() -> bool:
            # The replica may be a moment behind the first nudge.
            await place.nudges.send()
            return feed.chart.get(1) is not None

        await eventually(there, timeout=40)
    finally:
        await end(tasks)


async def _subscribed(place: Place) -> bool:
    return bool(dict(await place.redis.pubsub_numsub("ranking:changed"))[b"ranking:changed"])


async def test_facts_count_whether_they_come_before_or_after_the_first_vote(place: Place) -> None:
    feed = place.feed()
    await feed.refresh()
    before, after = replace(SHAWSHANK, movie=1, box_office_usd=None), replace(SHAWSHANK, movie=2)
    await place.store.put_facts({1: (before, NOW)})
    await feed.refresh()
    await place.store.apply([Change(1, 1, None, 9, NOW), Change(2, 2, None, 9, NOW)])
    await caught_up(place, feed)
    await place.store.put_facts({2: (after, NOW)})

    async def both() -> bool:
        await feed.refresh()
        entries = list(feed.chart.entries([1, 2]))
        return all(entry.facts is not None for entry in entries)

    await eventually(both)
    assert list(feed.chart.orders.box_office.after(None)) == [2]


async def test_older_facts_do_not_replace_newer_ones(place: Place) -> None:
    await place.store.put_facts({111161: (SHAWSHANK, NOW)})
    await place.store.put_facts({111161: (replace(SHAWSHANK, title="Old"), NOW - 1)})
    await place.store.put_facts({2: (SHAWSHANK, NOW)})

    async def titles() -> list[str]:
        """By movie number, once the replica has both."""
        return [kept.title for kept in await place.store.facts_of([2, 111161])]

    async def arrived() -> bool:
        return len(await titles()) == 2

    # The second movie was written after the older facts: where it is, they would be.
    await eventually(arrived)
    assert await titles() == [SHAWSHANK.title] * 2
    await place.store.put_facts({111161: (replace(SHAWSHANK, title="New"), NOW + 1)})

    async def renewed() -> bool:
        return sorted(await titles()) == ["New", SHAWSHANK.title]

    await eventually(renewed)
