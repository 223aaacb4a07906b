"""Several hosts that lead to one database: what hangs or is gone costs a bounded time, and not every time."""

import socket
import time
from collections.abc import Iterator

import asyncpg
import pytest

from local.stack.layout import HOST, Stack
from local.stack.provision import SUPERUSER
from mesh import dial, postgres
from mesh.postgres import PostgresConfig
from tests.support.ports import free_port


@pytest.fixture
def hung() -> Iterator[str]:
    """A host whose kernel takes connections and whose program answers nothing, as a stopped proxy."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield f"{HOST}:{server.getsockname()[1]}"


def through(stack: Stack, *before: str) -> str:
    return stack.dsn_at(",".join([*before, stack.address("postgres", "sql")]), SUPERUSER, "postgres")


async def test_a_host_that_hangs_is_passed_over(stack: Stack, hung: str) -> None:
    connection = await dial.connect(through(stack, hung), timeout=8)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_the_next_connection_does_not_wait_for_it_again(stack: Stack, hung: str) -> None:
    dsn = through(stack, hung)
    await (await dial.connect(dsn, timeout=20)).close()
    began = time.monotonic()
    await (await dial.connect(dsn, timeout=20)).close()
    assert time.monotonic() - began < 10, "half of the 20 s is the share of the host that hangs"


async def test_a_host_that_is_gone_is_passed_over(stack: Stack) -> None:
    connection = await dial.connect(through(stack, f"{HOST}:{free_port()}"), timeout=20)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_a_server_that_refuses_is_not_asked_by_another_way(stack: Stack) -> None:
    dsn = stack.dsn_at(",".join([stack.address("postgres", "sql")] * 2), SUPERUSER, "no such database")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await dial.connect(dsn.replace("no such", "no%20such"), timeout=20)


async def test_a_service_reads_and_writes_while_a_way_to_its_database_hangs(stack: Stack, hung: str) -> None:
    pools = await postgres.connect(PostgresConfig(primary=through(stack, hung)))
    try:
        async with pools.write() as connection:
            assert await connection.fetchval("SELECT 2") == 2
        assert await pools.fetchval("SELECT 3") == 3
    finally:
        await pools.close()
