"""How the ratings of one database lie: by user, in partitions."""

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from local.stack.layout import Stack
from rating_svc import store
from tests.support.ratings_rig import Rig, rig, submission

USER_TABLES = ("ratings", "seen_requests")


@pytest.fixture
async def plain(stack: Stack) -> AsyncIterator[Rig]:
    async with rig(stack) as made:
        yield made


async def test_on_one_postgresql_users_are_spread_over_partitions(plain: Rig) -> None:
    wishes = [submission(f"user-{i}", 1, 7) for i in range(200)]
    await plain.submit(wishes)
    async with plain.working():
        await plain.stored({(wish.user, 1): 7 for wish in wishes})
    rows = await plain.fetch("SELECT tableoid::regclass::text, count(*) FROM ratings GROUP BY 1")
    assert len(rows) == 16
    assert max(row[1] for row in rows) < 40


async def test_what_is_asked_of_one_user_touches_one_partition(plain: Rig) -> None:
    for query, arguments in (
        (store.GET, "'{ann}', '{1}'"),
        (store.LIST, "'ann', '{1}', now(), 1, 1, 10, 10"),
        (store.EXPORT, "'ann', 1, 10"),
    ):
        connection = await asyncpg.connect(plain.dsn)
        try:
            await connection.execute(f"PREPARE asked AS {query}")
            # What is joined to keys is known only when it runs: partitions left out are "never executed".
            rows = await connection.fetch(f"EXPLAIN (ANALYZE) EXECUTE asked({arguments})")
        finally:
            await connection.close()
        lines = [row[0] for row in rows if "never executed" not in row[0]]
        partitions = set(re.findall(r" on (ratings_\d\d) ", "\n".join(lines)))
        assert len(partitions) == 1, lines


async def test_ratings_read_again_and_again_are_not_planned_again_and_again(plain: Rig) -> None:
    connection = await asyncpg.connect(plain.dsn)
    try:
        for number in range(20):
            await connection.fetch(store.GET, [f"user-{number}", "ann"], [number + 1, 1])
        row = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", store.GET
        )
    finally:
        await connection.close()
    assert row is not None
    assert row["generic_plans"] > row["custom_plans"]


async def test_every_key_holds_the_shard_key(plain: Rig) -> None:
    for table in USER_TABLES:
        rows = await plain.fetch(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = $1::text::regclass AND indisunique",
            table,
        )
        assert rows
        assert all("(user_id" in row[0] for row in rows)
