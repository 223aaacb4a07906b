"""Whoever uses Redis goes on at the new master after a failover, by whichever connection."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh import redisdb
from mesh.config import ConfigError
from mesh.pipe import Pipe
from mesh.redisdb import AWAY, RedisConfig
from mesh.tasks import end
from movie_svc.caching.cache import KEY_PREFIX, L1, RedisCache
from movie_svc.caching.tracking import Tracker
from movie_svc.config import CacheConfig
from movie_svc.storing.entries import Entry
from ranking_svc.nudges import Nudges
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.config import PendingConfig
from rating_svc.submissions import Position
from tests.support.sentinels import DOWN_AFTER_S, Sentinels, running_sentinels
from tests.support.waiting import eventually

# Electing a leader, promoting, the next look of a client that had left Redis alone; and a busy machine.
FOLLOWS_WITHIN_S = DOWN_AFTER_S + 28.5


@pytest.fixture
async def sentinels(tmp_path: Path) -> AsyncIterator[Sentinels]:
    async with running_sentinels(tmp_path) as started:
        yield started


class Users:
    """Every way in which Marquee's processes use Redis."""

    def __init__(self, sentinels: Sentinels) -> None:
        self.movies = redisdb.connect(sentinels.config("movie_svc"))
        self.others = redisdb.connect(sentinels.config("movie_svc"))
        # Each of its writes must be taken in time after the failover, by a busy machine too.
        self.ratings = redisdb.connect(sentinels.config("rating_svc", timeout_s=2))
        self.rankings = redisdb.connect(sentinels.config("ranking_svc"))
        cache = CacheConfig()
        self.l1 = L1(cache)
        self.tracker = Tracker(self.movies, self.l1, RedisCache(self.movies, cache))
        self.pending = PendingWrites(Pipe(self.ratings, 1.0), PendingConfig())
        self.nudges = Nudges(self.rankings)
        self.nudged = asyncio.Event()
        self._writes = 0

    async def writes(self) -> bool:
        """Whether a rating's pending write gets there, by a script in a pipeline, and is read from there."""
        self._writes += 1
        write = PendingWrite(self._writes, 7, Position(1, self._writes), time.time_ns() // 1000)
        await self.pending.put("ann", [write])
        found, shared = await self.pending.get("ann", self._writes)
        return shared and found == write

    async def is_told(self) -> bool:
        """Whether this process's memory hears of what another changes."""
        begun = self.l1.begin_fill()
        self.l1.put(1, Entry(b"x", "e", 1, 0.0, time.time() + 60), begun)
        self.l1.end_fill()
        try:
            await self.others.set(f"{KEY_PREFIX}1", str(time.time_ns()))
        except AWAY:
            return False
        try:
            await eventually(lambda: self.l1.get(1) is None, 0.5)
        except AssertionError:
            return False
        return bool(self.l1._tracked)

    async def is_nudged(self) -> bool:
        self.nudged.clear()
        await self.nudges.send()
        try:
            await asyncio.wait_for(self.nudged.wait(), 0.5)
        except TimeoutError:
            return False
        return True

    async def all(self) -> bool:
        return await self.writes() and await self.is_told() and await self.is_nudged()


@asynccontextmanager
async def using(sentinels: Sentinels) -> AsyncIterator[Users]:
    users = Users(sentinels)
    # As health asks, each second.
    clients = [users.movies, users.others, users.ratings, users.rankings]

    async def probing() -> None:
        while True:
            for client in clients:
                try:
                    await redisdb.probe(client)()
                except AWAY:
                    continue
            await asyncio.sleep(1)

    loops = (users.tracker.run(), users.nudges.listen(lambda _: users.nudged.set()), probing())
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        await eventually(users.all)
        yield users
    finally:
        await end(tasks)
        for client in clients:
            await client.aclose()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_everything_follows_the_master(sentinels: Sentinels, number: signal.Signals) -> None:
    async with using(sentinels) as users:
        await users.ratings.set("rating:kept", "before")

        async def copied() -> bool:
            return int(await users.ratings.execute_command("WAIT", 1, 500)) >= 1

        await eventually(copied)
        old = sentinels.processes[sentinels.servers[0]]
        old.send_signal(number)
        started = time.monotonic()
        for works in (users.writes, users.is_told, users.is_nudged):
            await eventually(works, FOLLOWS_WITHIN_S)
            print(f"{number.name}: {works.__name__} after {time.monotonic() - started:.1f} s")
        assert await users.ratings.get("rating:kept") == b"before"
        if number is signal.SIGSTOP:
            # The one that comes back is not taken for the master: not even by whom it finds connected.
            old.send_signal(signal.SIGCONT)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                assert await users.writes()
                await asyncio.sleep(0.1)
            await eventually(users.all)
        ports = {
            connection.port  # type: ignore[attr-defined]
            for client in (users.ratings, users.others)
            for connection in client.connection_pool._available_connections
            if connection.is_connected
        }
        assert ports <= set(sentinels.servers[1:])


async def test_a_sentinel_that_hangs_is_passed_over(sentinels: Sentinels) -> None:
    sentinels.processes[sentinels.sentinels[0]].send_signal(signal.SIGSTOP)
    client = redisdb.connect(sentinels.config("rating_svc", timeout_s=2))
    try:
        assert await client.set("rating:a", "b")
    finally:
        await client.aclose()


@pytest.mark.parametrize("text", ["here", ":26379", "here:many"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        redisdb.connect(RedisConfig("redis://a:b@c/0", sentinels=(text,)))
