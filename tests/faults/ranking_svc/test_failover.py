"""What one machine does not show: a primary that fails over, and consumers that freeze."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from local.stack.layout import Home, Stack
from mesh import kafka, sessions
from ranking_svc.model import Change
from ranking_svc.topics import MOVIES_CHANGED, RATINGS_CHANGED
from tests.support import failover
from tests.support.ranking_processes import RankingProcess
from tests.support.rankings import NOW, Place, history, place_in
from tests.support.stacks import running
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

# Beside the bounds that are promised; a busy machine may be slow to notice.
SLACK_S = 20


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Stores of each test's own: they don't come back as they were."""
    with running(Home(Path(tmp_path_factory.mktemp("ranking_failover"))), ["infra"]) as started:
        yield started


@pytest.fixture
async def door(own: Stack) -> AsyncIterator[failover.Door]:
    async with failover.door_to_the_primary(own) as made:
        yield made


@pytest.fixture
def environment(own: Stack, door: failover.Door) -> dict[str, str]:
    """Of processes that reach the primary by the door, and read nowhere else."""
    return {
        "MARQUEE_PG_PRIMARY": door.dsn(own.dsn("ranking_svc")),
        "MARQUEE_PG_REPLICAS": "",
        "MARQUEE_KAFKA_SESSION_TIMEOUT_S": "6",
        "MARQUEE_RANKING_REBUILD_CHECK_S": "0.5",
    }


@pytest.fixture
async def place(own: Stack, environment: dict[str, str]) -> AsyncIterator[Place]:
    async with place_in(own, environment) as made:
        await kafka.ensure_topics(
            made.queue,
            [kafka.Topic(RATINGS_CHANGED, partitions=4), kafka.Topic(MOVIES_CHANGED, 1, compacted=True)],
        )
        made.topic = RATINGS_CHANGED
        yield made


async def shown(server: RankingProcess, expected: dict[int, tuple[int, ...]]) -> None:
    """Waits until a server shows the votes of all movies."""

    async def same() -> bool:
        found = await asyncio.gather(*map(server.votes, expected))
        return found == [sum(counts) for counts in expected.values()]

    await eventually(same, 60, interval=0.2, what="the charts' votes of all movies")


async def counted(place: Place, expected: dict[int, tuple[int, ...]]) -> None:
    async def same() -> bool:
        return await place.histograms() == expected

    await eventually(same, 60, interval=0.2, what="the aggregates of all votes")


async def test_votes_that_a_failover_takes_away_are_counted_again_and_charts_follow(
    own: Stack, place: Place, door: failover.Door, environment: dict[str, str], tmp_path: Path
) -> None:
    changes, expected = history(900, movies=50)
    async with (
        RankingProcess(own, "serve", tmp_path, **environment) as server,
        RankingProcess(own, "consumer", tmp_path, **environment),
    ):
        await place.send(changes[:300])
        await place.counted("ranking_svc.aggregates")
        await failover.cut_off_the_replica(own)
        # Counted, shown, committed to Kafka: and the replica has none of it.
        for start in range(300, 600, 10):
            await place.send(changes[start : start + 10])
            await place.counted("ranking_svc.aggregates")
        before = await place.histograms()
        await shown(server, before)
        with failover.without_its_primary(own):
            await failover.promote_the_replica(own)
            door.lead_to(own.port("postgres-replica", "sql"))
            lost = len(await _not_counted(own, changes[:600]))
            started = time.monotonic()
            await counted(place, before)
            await shown(server, before)
            print(f"{lost} votes were lost, and shown again {time.monotonic() - started:.1f} s later")
            await place.send(changes[600:])
            await counted(place, expected)
            await shown(server, expected)
            # And what is new now is shown without any new generation.
            await place.send([Change(100_000, 7, None, 9, NOW)])
            more = dict(expected)
            counts = list(more.get(7, (0,) * 10))
            counts[8] += 1
            more[7] = tuple(counts)
            await counted(place, more)
            await shown(server, more)
    assert lost > 100


async def _not_counted(own: Stack, changes: list[Change]) -> set[int]:
    connection = await asyncpg.connect(own.dsn("ranking_svc", "postgres-replica"))
    try:
        rows = await connection.fetch("SELECT event_id FROM inbox")
    finally:
        await connection.close()
    return {change.event_id for change in changes} - {row[0] for row in rows}


async def test_a_consumer_frozen_in_its_transaction_holds_nobody_up(
    own: Stack, place: Place, environment: dict[str, str], tmp_path: Path
) -> None:
    changes, expected = history(11, movies=3)
    blocker = await asyncpg.connect(own.dsn("postgres", database="marquee"))
    await place.store.apply([Change(1000 + movie, movie, None, 5, NOW) for movie in (1, 2, 3)])
    try:
        async with RankingProcess(own, "consumer", tmp_path, **environment) as frozen:
            async with blocker.transaction():
                await blocker.execute("SELECT FROM ranking_svc.scores FOR UPDATE")
                await place.send(changes)
                # It has taken the events' ids, and waits for the aggregates.
                await eventually(lambda: _waits_for_a_lock(blocker))
                os.kill(frozen.pid, signal.SIGSTOP)
            started = time.monotonic()
            async with RankingProcess(own, "consumer", tmp_path, **environment):
                await place.counted("ranking_svc.aggregates", timeout_s=60)
                took = time.monotonic() - started
                print(f"the successor had taken all {len(changes)} changes {took:.1f} s later")
                # Its partitions are free after its session's end, and its locks by then.
                assert took < 6 + sessions.RELEASE_S + SLACK_S
                os.kill(frozen.pid, signal.SIGCONT)
                # It comes back, and goes on as one of two.
                await place.send([Change(2000 + number, 1, None, 5, NOW) for number in range(20)])
                await place.counted("ranking_svc.aggregates", timeout_s=60)
                assert await frozen.serving()
        totals = {movie: sum(counts) for movie, counts in (await place.histograms()).items()}
        assert totals == {
            movie: sum(expected.get(movie, ())) + 1 + (20 if movie == 1 else 0) for movie in (1, 2, 3)
        }
    finally:
        await blocker.close()


async def _waits_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
