"""What a frozen process leaves behind in the database: its successor goes on within a stated bound."""

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import postgres, sessions
from mesh.config import load
from mesh.errors import MarqueeError
from mesh.postgres import Postgres, PostgresConfig
from mesh.services import SERVICES
from tests.support.holder import holding

# A busy machine may be slow to notice; without a bound, it would be minutes at least.
SLACK_S = 15


@pytest.fixture
async def pg(stack: Stack) -> AsyncIterator[Postgres]:
    made = await postgres.connect(load(PostgresConfig, stores(stack, "movie_svc")))
    yield made
    await made.close()


@pytest.fixture
async def table(pg: Postgres) -> AsyncIterator[str]:
    name = f"t_{uuid.uuid4().hex}"
    async with pg.write() as connection:
        await connection.execute(f"CREATE TABLE {name} AS SELECT 1 AS id, 0 AS x")
    yield name
    async with pg.write() as connection:
        await connection.execute(f"DROP TABLE {name}")


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
async def test_every_role_has_the_settings(stack: Stack, service: str) -> None:
    connection = await asyncpg.connect(stack.dsn(service))
    try:
        for name, value in sessions.SETTINGS.items():
            row = await connection.fetchrow("SELECT setting, source FROM pg_settings WHERE name = $1", name)
            assert row is not None
            assert row["source"] == "user", f"{name} = {value} is the role's"
            assert row["setting"] != "0", name
    finally:
        await connection.close()


async def test_the_row_of_a_frozen_transaction_is_free_within_the_bound(
    stack: Stack, pg: Postgres, table: str
) -> None:
    change = f"UPDATE {table} SET x = x + 1 WHERE id = 1"
    with holding(stores(stack, "movie_svc"), change) as frozen:
        frozen.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        refused = 0
        while True:
            try:
                async with pg.write() as connection:
                    await connection.execute(change)
                break
            except MarqueeError:  # it may be tried again
                refused += 1
            assert time.monotonic() - started < sessions.RELEASE_S + SLACK_S
        took = time.monotonic() - started
        print(f"free after {took:.1f} s, {refused} attempts in vain")
        # What it had done is undone, and it learns so when it comes back.
        frozen.send_signal(signal.SIGCONT)
        assert frozen.stdin is not None
        assert frozen.stdout is not None
        frozen.stdin.write("\n")
        frozen.stdin.flush()
        assert await asyncio.to_thread(frozen.stdout.readline) == "DATABASE_UNAVAILABLE\n"
    assert await pg.fetchval(f"SELECT x FROM {table}", fresh=True) == 1
