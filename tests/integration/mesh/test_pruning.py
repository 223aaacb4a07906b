"""What is too old is deleted, in portions; one table that can't be pruned now keeps no other from it."""

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from prometheus_client import CollectorRegistry, Counter

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import postgres
from mesh.config import load
from mesh.errors import unavailable
from mesh.postgres import Postgres
from mesh.pruning import Aged, Pruner
from tests.support.waiting import eventually

HOUR_S = 3600.0


@dataclass(frozen=True)
class Table:
    """A table of rows that are 0, 1, 2 … hours old; every third is marked."""

    pg: Postgres
    aged: Aged

    async def left(self) -> set[int]:
        """The rows that are there, by their age in hours."""
        return {row[0] for row in await self.pg.fetch(f"SELECT id FROM {self.aged.table}", fresh=True)}


@pytest.fixture
async def table(stack: Stack) -> AsyncIterator[Table]:
    name = f"old_{uuid.uuid4().hex[:8]}"
    pg = await postgres.connect(load(postgres.PostgresConfig, stores(stack, "rating_svc")))
    async with pg.write() as connection:
        await connection.execute(
            f"""CREATE TABLE {name} (id int PRIMARY KEY, at timestamptz NOT NULL, marked bool NOT NULL);
                INSERT INTO {name} SELECT h, now() - make_interval(hours => h), h % 3 = 0
                FROM generate_series(0, 99) AS h"""
        )
    yield Table(pg, Aged(name, "id", "at", 10.5 * HOUR_S))
    async with pg.write() as connection:
        await connection.execute(f"DROP TABLE {name}")
    await pg.close()


def pruner(table: Table, *aged: Aged, portion: int = 5000) -> tuple[Pruner, Counter]:
    pruned = Counter("pruned", "", ("table",), registry=CollectorRegistry())
    return Pruner(table.pg, aged, pruned, 0.05, portion), pruned


async def test_all_that_is_too_old_goes_however_much_it_is_and_nothing_else(table: Table) -> None:
    made, pruned = pruner(table, table.aged, portion=20)
    await made.prune()
    assert await table.left() == set(range(11))
    assert pruned.labels(table.aged.table)._value.get() == 89


async def test_rows_with_a_mark_of_their_own_are_kept_for_as_long_as_they_say(table: Table) -> None:
    made, _ = pruner(
        table,
        replace(table.aged, only="NOT marked"),
        replace(table.aged, only="marked", kept_s=50.5 * HOUR_S),
    )
    await made.prune()
    assert await table.left() == {*range(11), *range(0, 51, 3)}


async def test_what_is_kept_forever_is_not_deleted(table: Table) -> None:
    made, _ = pruner(table, replace(table.aged, kept_s=math.inf))
    await made.prune()
    assert len(await table.left()) == 100


async def test_while_one_age_is_not_known_the_other_tables_are_pruned(table: Table) -> None:
    async def not_known() -> float:
        raise unavailable("QUEUE_UNAVAILABLE", "no broker answers", 1)

    made, _ = pruner(table, replace(table.aged, kept_s=not_known), replace(table.aged, only="marked"))
    running = asyncio.create_task(made.run())

    async def gone() -> bool:
        return len(await table.left()) == 100 - sum(1 for age in range(11, 100) if age % 3 == 0)

    await eventually(gone)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
