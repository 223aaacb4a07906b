"""Alerts of what no drill breaks: each fires on a real mesh, reaches the operators, and ends."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from local.commands.edge_client import EdgeClient
from local.servers import probes
from local.stack import authority
from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import dial, redisdb
from mesh.redisdb import RedisConfig
from tests.drills.conftest import Mesh
from tests.support.command import marquee
from tests.support.waiting import eventually

pytestmark = [pytest.mark.drills, pytest.mark.timeout(900)]

Breaks = Callable[[Stack], contextlib.AbstractAsyncContextManager[None]]
MOVIE = "tt0111161"


def nearly_over(name: str) -> Breaks:
    """A certificate that ends in three days."""

    @contextlib.asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        await asyncio.to_thread(authority.issue, stack.home.certificates, name, 3)
        try:
            yield
        finally:
            await asyncio.to_thread(authority.issue, stack.home.certificates, name)

    return broken


@contextlib.asynccontextmanager
async def redis_full(stack: Stack) -> AsyncIterator[None]:
    """All but a little of its memory is used, by what has no expiry."""
    config = RedisConfig(url=probes.redis_url(stack, "redis"), timeout_s=10)
    async with redisdb.connect(config) as client:
        memory = await client.info("memory")
        size = 1024 * 1024
        count = int(0.95 * memory["maxmemory"] - memory["used_memory"]) // size
        keys = [f"test:{number}" for number in range(count)]
        for key in keys:
            await client.set(key, bytes(size))
        try:
            yield
        finally:
            await client.unlink(*keys)


@contextlib.asynccontextmanager
async def counted_wrong(stack: Stack) -> AsyncIterator[None]:
    """Ratings that ranking_svc has lost."""
    await rate(stack)
    connection = await dial.connect(stack.dsn(SUPERUSER))
    try:
        found = "SELECT count(*) FROM ranking_svc.scores WHERE movie = $1"
        await eventually(lambda: connection.fetchval(found, int(MOVIE[2:])), 30, 0.2, what="a counted rating")
        await connection.execute("UPDATE ranking_svc.scores SET h1 = h1 + 1")
    finally:
        await connection.close()
    await asyncio.to_thread(marquee, stack.home, "verify", code=1)
    try:
        yield
    finally:
        await asyncio.to_thread(marquee, stack.home, "verify", "--repair")


@contextlib.asynccontextmanager
async def nothing_is_stored(stack: Stack) -> AsyncIterator[None]:
    """A lock keeps the workers from storing what users submit."""
    connection = await dial.connect(stack.dsn(SUPERUSER))
    locking = connection.transaction()
    await locking.start()
    try:
        await connection.execute("LOCK TABLE rating_svc.ratings IN EXCLUSIVE MODE")
        await rate(stack)
        yield
    finally:
        await locking.rollback()
        await connection.close()


async def rate(stack: Stack) -> None:
    client = EdgeClient(stack, "partner")
    try:
        answer = await client.put_rating(f"alerts-{uuid.uuid4()}", MOVIE, 9)
        assert answer.status == 200
    finally:
        client.close()


CASES: dict[str, Breaks] = {
    "MarqueeCertificateExpires": nearly_over("rating_svc"),
    "MarqueeEdgeCertificateExpires": nearly_over("edge"),
    "MarqueeRedisFull": redis_full,
    "MarqueeVerifyMismatch": counted_wrong,
    "MarqueeReaderBehind": nothing_is_stored,
}


@pytest.mark.parametrize("alert", CASES)
async def test_an_alert_reaches_the_operators_and_ends(mesh: Mesh, alert: str) -> None:
    await eventually(mesh.well, 120, 0.5, what="every part ready")
    mesh.heard.told.clear()
    async with CASES[alert](mesh.stack):
        await mesh.hears(alert, "firing")
    await mesh.hears(alert, "resolved")
    await eventually(mesh.well, 120, 0.5, what="every part ready")
