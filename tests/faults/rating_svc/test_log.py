"""What happens to the log itself: it grows under load, and it loses its end. No answered write is lost."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import grpc
import pytest

from local.stack.layout import Home, Stack
from mesh import sessions
from mesh.errors import MarqueeError
from rating_svc.submissions import Submission
from tests.support.parts import Part
from tests.support.ratings import RatingProcess, User
from tests.support.ratings_rig import Rig, rig, submission
from tests.support.repeating import repeatedly
from tests.support.stacks import running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

MOVIES = 5
_SLOW = """CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$"""
_TRY_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class Author:
    """A user who rates without pause and knows what was answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last: dict[int, int] = {}
        """The score that stands, by movie."""
        self.answered = 0
        self.failed = 0
        self.longest_s = 0.0
        self._chance = random.Random(name)

    async def write(self, channels: list[grpc.aio.Channel]) -> None:
        movie, score = self._chance.randrange(1, MOVIES + 1), self._chance.randrange(1, 11)
        began = time.monotonic()
        # The same request until it is answered, at any of the fronts, as the edge and clients do.
        request_id = str(uuid.UUID(int=self._chance.getrandbits(128)))
        while True:
            user = User(self._chance.choice(channels), self.name, timeout_s=2)
            try:
                await user.rate(movie, score, request_id)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() not in _TRY_AGAIN:
                    raise
                self.failed += 1
                await asyncio.sleep(0.05)
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        self.answered += 1
        self.last[movie] = score


async def stored_scores(stack: Stack) -> dict[tuple[str, int], int]:
    connection = await asyncpg.connect(stack.dsn("rating_svc"))
    try:
        rows = await connection.fetch("SELECT user_id, movie_id, score FROM ratings WHERE score IS NOT NULL")
    finally:
        await connection.close()
    return {(row[0], row[1]): row[2] for row in rows}


async def counted(stack: Stack) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """Votes by movie and score: of the ratings, and of the events in the outbox, none of which is sent."""
    connection = await asyncpg.connect(stack.dsn("rating_svc"))
    try:
        ratings = await connection.fetch(
            "SELECT movie_id, score::int, count(*)::int FROM ratings WHERE score IS NOT NULL GROUP BY 1, 2"
        )
        events = await connection.fetch(
            """SELECT movie_id, score::int, sum(n)::int FROM (
                SELECT movie_id, new_score AS score, 1 AS n FROM outbox WHERE new_score IS NOT NULL
                UNION ALL SELECT movie_id, old_score, -1 FROM outbox WHERE old_score IS NOT NULL) AS each
            GROUP BY 1, 2 HAVING sum(n) <> 0"""
        )
    finally:
        await connection.close()
    return {(r[0], r[1]): r[2] for r in ratings}, {(r[0], r[1]): r[2] for r in events}


@asynccontextmanager
async def mesh(stack: Stack, logs: Path) -> AsyncIterator[tuple[list[RatingProcess], RatingProcess]]:
    environment = {"MARQUEE_RATING_PARTITIONS": "4"}
    async with (
        RatingProcess(stack, "serve", logs, **environment) as one,
        RatingProcess(stack, "serve", logs, **environment) as two,
        RatingProcess(stack, "worker", logs, **environment) as worker,
    ):
        yield [one, two], worker


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Stores of these tests' own: the broker is about to be set back."""
    with running(Home(Path(tmp_path_factory.mktemp("log"))), ["infra"]) as started:
        yield started


@asynccontextmanager
async def broker_down(stack: Stack) -> AsyncIterator[Path]:
    """The folder of the only broker, while it is down."""
    async with Part(stack, "kafka").killed(0):
        yield stack.data / "kafka"


async def test_a_broker_that_comes_back_from_a_backup_does_not_make_newer_writes_look_older(
    own: Stack, tmp_path: Path
) -> None:
    """Its offsets are given a second time: fewer than before to some users, more than before to others."""
    async with rig(own) as bench:
        users = [f"user-{i}" for i in range(40)]
        early = [submission(user, 1, 4) for user in users]
        await bench.submit(early)
        async with bench.working(bench.worker(batch=30)):
            await bench.stored({(user, 1): 4 for user in users})
            async with broker_down(own) as folder:
                shutil.copytree(folder, tmp_path / "kafka")
            # The backup does not hold these. Whoever has rated so was answered, and it is stored.
            await resubmit(bench, [submission(user, 1, 6) for user in users for _ in range(3)])
            await bench.stored({(user, 1): 6 for user in users}, 60)
            async with broker_down(own) as folder:
                owner = folder.stat()
                shutil.rmtree(folder)
                shutil.copytree(tmp_path / "kafka", folder)
                for path in (folder, *folder.rglob("*")):
                    os.chown(path, owner.st_uid, owner.st_gid)
            latest = [submission(user, 1, 9) for user in users[:10]]
            many = [submission(user, 1, 2 + turn) for turn in range(6) for user in users[10:]]
            await resubmit(bench, latest + many)
            expected = {(user, 1): 9 for user in users[:10]} | {(user, 1): 7 for user in users[10:]}
            await bench.stored(expected, 90)
        assert await bench.aggregates() == await bench.recount()
        assert await bench.fetch("SELECT FROM submission_log WHERE partition IS NOT NULL")
        ids = [row[0] for row in await bench.fetch("SELECT event_id FROM outbox")]
        assert len(ids) == len(set(ids))


async def resubmit(bench: Rig, wishes: list[Submission]) -> None:
    """Writes submissions one user's after the other's, each until it is answered, as clients do."""
    for wish in wishes:
        async with asyncio.timeout(60):
            while True:
                try:
                    await bench.submit([wish])
                    break
                except MarqueeError:
                    await asyncio.sleep(0.1)


async def test_a_worker_that_freezes_in_its_transaction_is_followed_within_a_bound(
    own: Stack, tmp_path: Path
) -> None:
    """It comes back later, and does nothing twice. The bound: its session in the group, and its locks."""
    bound_s = 10 + sessions.RELEASE_S
    async with rig(own) as bench:
        environment = {
            "MARQUEE_PG_PRIMARY": bench.dsn,
            "MARQUEE_PG_REPLICAS": "",
            "MARQUEE_RATING_PARTITIONS": "4",
        }
        prefix = f"user-{uuid.uuid4()}"
        async with (
            RatingProcess(own, "serve", tmp_path, **environment) as front,
            RatingProcess(own, "worker", tmp_path, **environment) as first,
            grpc.aio.insecure_channel(front.address) as channel,
        ):
            authors = [User(channel, f"{prefix}-{i}") for i in range(30)]
            await asyncio.gather(*(author.rate(1, 5) for author in authors))
            await bench.stored({(author.name, 1): 5 for author in authors})
            # Its next transaction takes half a second, in which it is frozen.
            await slow_down(bench, 0.5)
            await asyncio.gather(*(author.rate(1, 8) for author in authors))
            await eventually(lambda: in_transaction(bench), interval=0.005)
            first.signal(signal.SIGSTOP)
            began = time.monotonic()
            await bench.run(_SLOW.format(seconds=0))
            async with RatingProcess(own, "worker", tmp_path, **environment):
                await bench.stored({(author.name, 1): 8 for author in authors}, bound_s + 45)
                took_s = time.monotonic() - began
                first.signal(signal.SIGCONT)
                await asyncio.gather(*(author.rate(1, 3) for author in authors))
                await bench.stored({(author.name, 1): 3 for author in authors})
        assert await bench.aggregates() == await bench.recount()
        assert len(await bench.events()) == 3 * len(authors)
        print(f"the successor had stored it {took_s:.1f} s after the other froze; bound {bound_s} s")


async def slow_down(bench: Rig, seconds: float) -> None:
    await bench.run(_SLOW.format(seconds=seconds))
    await bench.run(
        "CREATE TRIGGER slow AFTER INSERT ON seen_requests FOR EACH STATEMENT EXECUTE FUNCTION slow()"
    )


async def in_transaction(bench: Rig) -> bool:
    rows = await bench.fetch(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    return bool(rows)


async def test_the_log_grows_under_load_beside_a_front_that_is_frozen_meanwhile(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    with running(Home(tmp_path / "stack"), ["infra"]) as stack:
        async with mesh(stack, logs) as (fronts, _):
            channels = [grpc.aio.insecure_channel(front.address) for front in fronts]
            authors = [Author(f"author-{i}") for i in range(24)]
            async with repeatedly(*(partial(author.write, channels) for author in authors), pause_s=0):
                await asyncio.sleep(3)
                # It is frozen in the middle of its writes, and comes back when the log has long grown.
                fronts[1].signal(signal.SIGSTOP)
                await asyncio.sleep(0.5)
                grown = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-m", "rating_svc", "grow", "8"],
                    env=fronts[0].environment,
                    capture_output=True,
                    text=True,
                )
                assert grown.returncode == 0, grown.stderr
                assert "submitted.v1.g2 now, 8 partitions, epoch 2" in grown.stdout
                await asyncio.sleep(3)
                fronts[1].signal(signal.SIGCONT)
                await asyncio.sleep(3)
            expected = {(a.name, movie): score for a in authors for movie, score in a.last.items()}

            async def all_stored() -> bool:
                return await stored_scores(stack) == expected

            await eventually(all_stored, 60)
            ratings, events = await counted(stack)
            assert events == ratings
            connection = await asyncpg.connect(stack.dsn("rating_svc"))
            used = await connection.fetchval("SELECT count(DISTINCT log_epoch) FROM ratings")
            new = await connection.fetchval("SELECT count(*) FROM kafka_offsets WHERE next_offset > 0")
            await connection.close()
            assert used >= 1
            assert new > 8
            for channel in channels:
                await channel.close()
            answered = sum(author.answered for author in authors)
            print(
                f"{answered} writes answered, {sum(a.failed for a in authors)} tries failed, "
                f"longest write {max(a.longest_s for a in authors):.1f} s; {grown.stdout}"
            )
            assert answered > 100
