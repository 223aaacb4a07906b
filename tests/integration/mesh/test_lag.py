"""How old a replica's answers are, while a server or the way there hangs, and after a failover."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY

from local.stack.layout import Home, Stack
from local.stack.provision import SUPERUSER
from mesh import postgres
from mesh.postgres import Postgres, PostgresConfig
from mesh.tasks import end
from tests.support.proxy import Proxy, proxied
from tests.support.repeating import repeatedly
from tests.support.stacks import running
from tests.support.waiting import eventually

MAX_LAG_S = 1.5
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def config(stack: Stack) -> PostgresConfig:
    return PostgresConfig(
        primary=stack.dsn("movie_svc"),
        replicas=(stack.dsn("movie_svc", "postgres-replica"),),
        max_lag_s=MAX_LAG_S,
        lag_interval_s=0.2,
    )


@asynccontextmanager
async def watched(config: PostgresConfig) -> AsyncIterator[Postgres]:
    pg = await postgres.connect(config)
    task = asyncio.create_task(pg.watch())
    try:
        yield pg
    finally:
        await end([task])
        await pg.close()


@asynccontextmanager
async def replay_paused(stack: Stack) -> AsyncIterator[None]:
    """A replica that gets everything and applies nothing."""
    admin = await asyncpg.connect(stack.dsn(SUPERUSER, "postgres-replica"))
    try:
        await admin.execute("SELECT pg_wal_replay_pause()")
        yield
    finally:
        await admin.execute("SELECT pg_wal_replay_resume()")
        await admin.close()


async def change(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"CREATE TABLE t_{uuid.uuid4().hex} (x int)")
    finally:
        await connection.close()


async def at_replica(pg: Postgres) -> bool:
    return bool(await pg.fetchval("SELECT pg_is_in_recovery()"))


def lag(label: str = "replica-1") -> float:
    found = REGISTRY.get_sample_value("marquee_postgres_replica_lag_seconds", {"replica": label})
    assert found is not None
    return found


def by_way_of(proxy: Proxy, dsn: str) -> str:
    return re.sub(r":\d+/", f":{proxy.port}/", dsn)


async def test_a_full_pool_makes_no_replica_fresh(stack: Stack, config: PostgresConfig) -> None:
    async with watched(replace(config, pool_size=1)) as pg:
        await eventually(lambda: at_replica(pg))
        async with pg.write(), replay_paused(stack):  # the one connection to the primary is taken
            await change(config.primary)
            await eventually(lambda: lag() > MAX_LAG_S, what="a lag that is measured nevertheless")
            assert lag() > MAX_LAG_S
        await eventually(lambda: lag() == 0.0)


async def test_what_is_not_known_is_not_zero(stack: Stack, config: PostgresConfig) -> None:
    async with contextlib.AsyncExitStack() as ways:
        proxy = await ways.enter_async_context(proxied(stack.port("postgres", "sql")))
        cut_off = replace(config, primary=by_way_of(proxy, config.primary))
        async with watched(cut_off) as pg:
            await eventually(lambda: at_replica(pg))
            await eventually(lambda: lag() == 0.0)
            proxy.hold()
            await eventually(lambda: lag() > MAX_LAG_S)
            # It is all there is, and nobody waits for the primary first.
            started = time.monotonic()
            assert await at_replica(pg)
            assert time.monotonic() - started < config.timeout_s
            proxy.let_go()
            await eventually(lambda: lag() == 0.0)
            async with pg.write() as connection:
                assert await connection.fetchval("SELECT 1") == 1


async def test_a_replica_that_hangs_is_left_out_and_delays_no_other(
    stack: Stack, config: PostgresConfig
) -> None:
    async with proxied(stack.port("postgres-replica", "sql")) as proxy:
        both = (by_way_of(proxy, config.replicas[0]), config.replicas[0])
        async with watched(replace(config, replicas=both)) as pg:

            async def asked() -> set[str]:
                return {node.label for _ in range(4) for node in pg._order()[:1]}

            async def all_asked() -> bool:
                return await asked() == {"replica-1", "replica-2"}

            async def one_asked() -> bool:
                return await asked() == {"replica-2"}

            await eventually(all_asked)
            proxy.hold()
            await eventually(one_asked)
            # For as long as the first says nothing the second goes on being measured.
            async with replay_paused(stack):
                await change(config.primary)
                await eventually(lambda: lag("replica-2") > 0.5)
            proxy.let_go()
            await eventually(all_asked)


async def test_a_promoted_replica(tmp_path: Path) -> None:
    with running(Home(tmp_path), ["postgres", "postgres-replica"]) as own:
        old, new = own.dsn("movie_svc"), own.dsn("movie_svc", "postgres-replica")
        usual = PostgresConfig(primary=old, replicas=(new,), max_lag_s=MAX_LAG_S, lag_interval_s=0.2)
        async with watched(usual) as pg:
            await eventually(lambda: at_replica(pg))
            admin = await asyncpg.connect(own.dsn(SUPERUSER, "postgres-replica"))
            assert await admin.fetchval("SELECT pg_promote()")
            await admin.close()
            await change(new)

            async def old_is_asked() -> bool:
                return bool(pg._order()[0].label == "primary")

            # While the configured primary is another server, the promoted one's history is not its.
            await eventually(old_is_asked)
        # The new primary alone, and the new one under both names, as behind a proxy that follows the primary.
        for primary in (NOWHERE, new):
            async with watched(replace(usual, primary=primary)) as pg:

                async def new_is_asked() -> bool:
                    return bool(pg._order()[0].label == "replica-1")

                await eventually(new_is_asked)
                # It stays so while more is written there.
                async with repeatedly(lambda: change(new), pause_s=MAX_LAG_S / 4):
                    await asyncio.sleep(MAX_LAG_S * 2)
                    await eventually(new_is_asked, what="the new one is asked all the time")
