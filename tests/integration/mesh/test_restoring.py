"""A database that is put in another's place, as a restore does it: who asks meanwhile may ask again."""

import dataclasses
import uuid
from collections.abc import AsyncIterator

import asyncpg
import grpc
import pytest

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import postgres
from mesh.config import load
from mesh.errors import MarqueeError
from mesh.postgres import Postgres, PostgresConfig
from mesh.provision import SUPERUSER


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[str]:
    name = f"restored_{uuid.uuid4().hex}"
    await run(stack, f"CREATE DATABASE {name}")
    yield name
    await run(stack, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def run(stack: Stack, *statements: str) -> None:
    connection = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def refused(pg: Postgres) -> str:
    with pytest.raises(MarqueeError) as told:
        await pg.fetchval("SELECT 1")
    assert told.value.code is grpc.StatusCode.UNAVAILABLE
    return told.value.reason


async def test_a_database_that_is_closed_or_renamed_is_away_and_no_fault(stack: Stack, database: str) -> None:
    given = load(PostgresConfig, stores(stack, "movie_svc"))
    own = dataclasses.replace(given, primary=stack.dsn(SUPERUSER, database=database), replicas=())
    pg = await postgres.connect(own)
    try:
        assert await pg.fetchval("SELECT 1") == 1
        ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
        await run(stack, f"ALTER DATABASE {database} ALLOW_CONNECTIONS false", ended)
        # The connection that it had is broken; the next is refused.
        assert [await refused(pg) for _ in range(2)] == ["DATABASE_UNAVAILABLE"] * 2
        await run(stack, f"ALTER DATABASE {database} RENAME TO {database}_old")
        assert await refused(pg) == "DATABASE_UNAVAILABLE"
        back = f"ALTER DATABASE {database}_old RENAME TO {database}"
        await run(stack, back, f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert await pg.fetchval("SELECT 1") == 1
    finally:
        await pg.close()
