"""How the ratings lie: by user, in partitions of one PostgreSQL or, where Citus is, in its shards.

Citus itself does not run here: a stub extension of its name stands in, which
takes down what the migration asks of it. What is shown is that the migration
takes that way by itself and that the worker's SQL does on its schema what it
does on the other; not that Citus plans that SQL (docs/decisions/0011).
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from local.stack.layout import Stack
from mesh import migrations
from rating_svc import store
from tests.support.ratings_rig import MIGRATIONS, Rig, rig, submission

USER_TABLES = ("ratings", "seen_requests")

STUB = """
CREATE TABLE asked (number int GENERATED ALWAYS AS IDENTITY, what text, by text, with_what text);
GRANT ALL ON asked TO PUBLIC;
CREATE FUNCTION create_distributed_table(
    table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO asked (what, by, with_what) VALUES (table_name::text, distribution_column, colocate_with)
$$;
"""


@pytest.fixture
async def plain(stack: Stack) -> AsyncIterator[Rig]:
    async with rig(stack) as made:
        yield made


@pytest.fixture
async def distributed(stack: Stack) -> AsyncIterator[Rig]:
    """A rig whose database had an extension named `citus` before the schema was made."""
    folder = stack.data / "stub"
    (folder / "extension").mkdir(parents=True, exist_ok=True)
    (folder / "extension" / "citus.control").write_text("default_version = '0'\nrelocatable = false\n")
    (folder / "extension" / "citus--0.sql").write_text(STUB)
    for each in (folder, folder / "extension"):
        each.chmod(0o755)

    async def extend(dsn_of_superuser: str) -> None:
        connection = await asyncpg.connect(dsn_of_superuser)
        try:
            await connection.execute(f"SET extension_control_path = '{folder}'")
            await connection.execute("CREATE EXTENSION citus")
        finally:
            await connection.close()

    async with rig(stack, before=extend) as made:
        yield made


async def kind(bench: Rig, table: str) -> bytes:
    (row,) = await bench.fetch("SELECT relkind FROM pg_class WHERE oid = $1::text::regclass", table)
    return row[0]


async def test_on_one_postgresql_users_are_spread_over_partitions(plain: Rig) -> None:
    assert await kind(plain, "ratings") == b"p"
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


async def test_with_citus_the_migration_distributes_by_user_by_itself(distributed: Rig) -> None:
    rows = await distributed.fetch("SELECT what, by, with_what FROM asked ORDER BY number")
    assert [tuple(row) for row in rows] == [
        ("ratings", "user_id", "default"),
        ("seen_requests", "user_id", "ratings"),
    ]
    assert await kind(distributed, "ratings") == b"r"
    assert await migrations.migrate(distributed.dsn, Path(MIGRATIONS)) == []


async def test_on_that_schema_the_worker_does_the_same(distributed: Rig) -> None:
    first, again = submission("ann", 1, 3), submission("ann", 1, 9)
    back = submission("bob", 1, None)
    await distributed.submit([first, submission("bob", 1, 5), first, again, back, again])
    async with distributed.working():
        await distributed.stored({("ann", 1): 9})
    assert await distributed.aggregates() == await distributed.recount() == {(1, 9): 1}
