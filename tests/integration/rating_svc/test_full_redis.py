"""Pending writes in a Redis that runs full: of caches, which make room, or of what must stay."""

import asyncio
import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import grpc
import pytest
import redis.asyncio as redis

from local.servers import redis_server
from local.stack.layout import Home, Stack
from local.stack.provision import REDIS_ADMIN
from mesh import redisdb
from mesh.pipe import Pipe
from mesh.redisdb import RedisConfig
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.config import PendingConfig
from rating_svc.submissions import Position
from tests.support.ports import free_port
from tests.support.ratings import RatingProcess, User
from tests.support.waiting import eventually

MAX_MEMORY = 24 * 1024 * 1024
INDEX = "rating:pending:index"
KEPT_FOR_EVER = PendingConfig()
SOON_STALE = {"MARQUEE_RATING_PENDING_TTL_S": "1"}


class SmallRedis:
    """A server with the product's users and settings, except how much memory it may take."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.admin = self.client(REDIS_ADMIN)

    def client(self, user: str) -> "redis.Redis":
        return redisdb.connect(RedisConfig(url=self._stack.redis_url(user), timeout_s=5))

    def pending(self, config: PendingConfig = KEPT_FOR_EVER) -> PendingWrites:
        """What is pending, as a process of rating_svc that knows nothing by itself sees it."""
        return PendingWrites(Pipe(self.client("rating_svc"), 0.1), config)

    def environment(self) -> dict[str, str]:
        return {"MARQUEE_REDIS_URL": self._stack.redis_url("rating_svc")}

    async def info(self, name: str) -> int:
        found: dict[str, Any] = await self.admin.info()
        return int(found[name])

    async def fill(self) -> None:
        """Leaves no room: what is there has no expiry and takes more than it may."""
        for number in range(16):
            await self.admin.set(f"ranking:chart:{number}", os.urandom(1 << 19))
        await self.admin.config_set("maxmemory", 1 << 22)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallRedis]:
    home = Home(tmp_path)
    home.make()
    stack = Stack(home, {"redis/redis": free_port()})
    with (tmp_path / "redis.log").open("wb") as log:
        await redis_server.prepare(stack, "redis", log)
        process = _start(redis_server.command(stack, "redis"), log)
    try:
        made = SmallRedis(stack)
        await eventually(lambda: _answers(made.admin))
        yield made
    finally:
        process.kill()
        process.wait()


def _start(command: list[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["setpriv", "--pdeathsig=SIGKILL", "--", *command, "--maxmemory", str(MAX_MEMORY)],
        stdout=log,
        stderr=log,
    )


async def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(await client.ping())
    except redisdb.AWAY:
        return False


def write(offset: int, movie: int, request_id: uuid.UUID | None = None) -> PendingWrite:
    return PendingWrite(movie, 7, Position(1, offset), time.time_ns() // 1000, request_id)


async def put(pending: PendingWrites, users: range, movie: int = 1) -> dict[str, PendingWrite]:
    written = {f"user-{number}": write(number, movie, uuid.uuid4()) for number in users}
    await asyncio.gather(*(pending.put(user, [one]) for user, one in written.items()))
    return written


async def shared(pending: PendingWrites, users: list[str], movie: int = 1) -> dict[str, PendingWrite]:
    """Which of these users' writes Redis has."""
    found = await asyncio.gather(*(pending.get(user, movie) for user in users))
    assert all(asked for _, asked in found)
    return {user: one for user, (one, _) in zip(users, found, strict=True) if one}


async def test_caches_make_room_and_pending_writes_stay(small: SmallRedis) -> None:
    written = await put(small.pending(), range(2000))
    caches = small.client("movie_svc")
    for first in range(0, 6000, 200):
        async with caches.pipeline(transaction=False) as pipeline:
            for number in range(first, first + 200):
                pipeline.set(f"movie:{number}", os.urandom(10_000), px=3_600_000)
            await pipeline.execute()
    assert await small.info("evicted_keys") > 1000
    assert await shared(small.pending(), list(written)) == written


async def test_a_write_that_a_full_redis_refuses_shows_where_it_was_taken(small: SmallRedis) -> None:
    here = small.pending()
    before = await put(here, range(10))
    await small.fill()
    after = await put(here, range(100, 110))
    assert await shared(here, list(after)) == after
    assert await shared(small.pending(), list(after)) == {}
    # What was there before stays, and what was stored makes room although nothing may be added.
    assert await shared(small.pending(), list(before)) == before
    await here.clear("user-1", {1: Position(1, 1)})
    assert await small.admin.zscore(INDEX, "user-1") is None
    assert await shared(small.pending(), ["user-1"]) == {}


async def test_nothing_is_left_of_writes_that_were_stored(small: SmallRedis) -> None:
    pending = small.pending()
    for number in range(300):
        await pending.put(f"user-{number}", [write(movie, movie) for movie in (1, 2)])
        await pending.clear(f"user-{number}", {1: Position(1, 1)})
        assert await small.admin.zscore(INDEX, f"user-{number}")
        await pending.clear(f"user-{number}", {2: Position(1, 2)})
    assert await small.admin.dbsize() == 0


async def test_only_who_wrote_long_ago_is_swept(small: SmallRedis) -> None:
    pending = small.pending(PendingConfig(ttl_s=100))
    written = await put(pending, range(1000))
    # By Redis' clock, whatever this machine's is.
    now = int((await small.admin.time())[0])
    stale = [f"user-{number}" for number in range(950)]
    await small.admin.zadd(INDEX, dict.fromkeys(stale, now - 101))
    renewed = await put(pending, range(1), movie=2)
    assert await pending.sweep() == 949
    left = {"user-0"} | {f"user-{number}" for number in range(950, 1000)}
    assert await shared(small.pending(), list(written)) == {user: written[user] for user in left}
    assert await shared(small.pending(), ["user-0"], movie=2) == renewed
    assert await small.admin.zcard(INDEX) == len(left)
    assert await pending.sweep() == 0


async def test_a_write_beside_a_release_that_set_an_expiry_is_kept(small: SmallRedis) -> None:
    await small.admin.hset("rating:pending:{user-0}", "5", "1:0:7:1")
    await small.admin.expire("rating:pending:{user-0}", 3600)
    await put(small.pending(), range(1))
    assert await small.admin.ttl("rating:pending:{user-0}") == -1


async def test_the_front_forgets_what_no_worker_stores(
    stack: Stack, small: SmallRedis, tmp_path: Path
) -> None:
    async with RatingProcess(stack, "serve", tmp_path, **small.environment(), **SOON_STALE) as front:
        async with grpc.aio.insecure_channel(front.address) as channel:
            users = [User(channel, f"user-{uuid.uuid4()}") for _ in range(20)]
            await asyncio.gather(*(user.rate(number + 1, 8) for number, user in enumerate(users)))
        await eventually(lambda: _is_empty(small))

        async def told() -> bool:
            # It is counted a moment after they are gone.
            return await front.metric("marquee_rating_pending_stale_total") == len(users)

        await eventually(told)


async def test_a_worker_forgets_what_is_too_old(stack: Stack, small: SmallRedis, tmp_path: Path) -> None:
    async with RatingProcess(stack, "worker", tmp_path, **small.environment(), **SOON_STALE):
        await put(small.pending(), range(500))
        await eventually(lambda: _is_empty(small, "rating:pending:*"))


async def _is_empty(small: SmallRedis, pattern: str = "*") -> bool:
    return not [key async for key in small.admin.scan_iter(pattern, count=10_000)]
