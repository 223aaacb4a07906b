"""Migrations and reads over a real primary and its real replica."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY

from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import postgres
from mesh.errors import MarqueeError
from mesh.migrations import MigrationError, migrate
from mesh.postgres import PostgresConfig
from mesh.tasks import end
from tests.support.waiting import eventually

NOBODY = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[PostgresConfig]:
    """An empty database of the test's own, on the primary and on the replica."""
    name = f"test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(stack.dsn(SUPERUSER))
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        replica = stack.dsn(SUPERUSER, "postgres-replica", name)

        async def is_replicated() -> bool:
            try:
                await (await asyncpg.connect(replica)).close()
            except asyncpg.InvalidCatalogNameError:
                return False
            return True

        await eventually(is_replicated)
        yield PostgresConfig(primary=stack.dsn(SUPERUSER, database=name), replicas=(replica,))
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


def write(folder: Path, **files: str) -> Path:
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql)
    return folder


async def test_files_run_once_and_in_order(database: PostgresConfig, tmp_path: Path) -> None:
    write(tmp_path, m0001_a="CREATE TABLE a (x int)", m0002_b="INSERT INTO a VALUES (1)")
    assert await migrate(database.primary, tmp_path) == ["0001_a.sql", "0002_b.sql"]
    assert await migrate(database.primary, tmp_path) == []
    write(tmp_path, m0003_c="INSERT INTO a VALUES (2)")
    assert await migrate(database.primary, tmp_path) == ["0003_c.sql"]


async def test_replicas_that_start_at_once_run_each_file_once(
    database: PostgresConfig, tmp_path: Path
) -> None:
    write(tmp_path, m0001_a="CREATE TABLE a (x int)", m0002_b="SELECT pg_sleep(0.3)")
    ran = await asyncio.gather(*(migrate(database.primary, tmp_path) for _ in range(4)))
    assert sorted(map(len, ran)) == [0, 0, 0, 2]


async def test_a_file_that_fails_leaves_nothing_behind(database: PostgresConfig, tmp_path: Path) -> None:
    write(tmp_path, m0001_a="CREATE TABLE a (x int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database.primary, tmp_path)
    write(tmp_path, m0001_a="CREATE TABLE a (x int)")
    assert await migrate(database.primary, tmp_path) == ["0001_a.sql"]


async def test_a_file_that_was_changed_after_it_ran_is_refused(
    database: PostgresConfig, tmp_path: Path
) -> None:
    await migrate(database.primary, write(tmp_path, m0001_a="CREATE TABLE a (x int)"))
    with pytest.raises(MigrationError, match=r"0001_a\.sql was changed"):
        await migrate(database.primary, write(tmp_path, m0001_a="CREATE TABLE a (x bigint)"))


async def test_a_rollback_finds_a_schema_that_it_can_run_with(
    database: PostgresConfig, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for release in (old, new):
        release.mkdir()
        write(release, m0001_a="CREATE TABLE a (x int)")
    write(new, m0002_b="ALTER TABLE a ADD COLUMN y int")
    await migrate(database.primary, old)
    assert await migrate(database.primary, new) == ["0002_b.sql"]
    # The old release is started again, beside the new one and in its place.
    assert await migrate(database.primary, old) == []
    assert await migrate(database.primary, new) == []


async def test_what_old_releases_cant_run_with_waits_until_it_is_told(
    database: PostgresConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(database.primary, write(tmp_path, m0001_a="CREATE TABLE a (x int, y int)"))
    drop = "-- marquee: contract\nALTER TABLE a DROP COLUMN y"
    write(tmp_path, m0002_b=drop, m0003_c="ALTER TABLE a ADD COLUMN z int")
    assert await migrate(database.primary, tmp_path) == [], "nor does anything after it run"
    monkeypatch.setenv("MARQUEE_MIGRATIONS_CONTRACT", "true")
    assert await migrate(database.primary, tmp_path) == ["0002_b.sql", "0003_c.sql"]
    for name in ("0002_b.sql", "0003_c.sql"):
        (tmp_path / name).unlink()
    with pytest.raises(MigrationError, match="too old"):
        await migrate(database.primary, tmp_path)


async def test_a_migration_may_take_longer_than_any_statement(
    database: PostgresConfig, tmp_path: Path
) -> None:
    """With the role's own time-outs, and with others waiting for it meanwhile."""
    bounds = "statement_timeout=200&idle_in_transaction_session_timeout=200&lock_timeout=200"
    dsn = f"{database.primary}?{bounds}"
    write(tmp_path, m0001_a="SELECT pg_sleep(1.5)")
    ran = await asyncio.gather(*(migrate(dsn, tmp_path) for _ in range(3)))
    assert sorted(map(len, ran)) == [0, 0, 1]


async def test_an_index_is_built_while_others_wait_for_it(database: PostgresConfig, tmp_path: Path) -> None:
    concurrently = """-- marquee: no transaction
DROP INDEX CONCURRENTLY IF EXISTS a_by_x;
CREATE INDEX CONCURRENTLY a_by_x ON a (x);
"""
    write(
        tmp_path, m0001_a="CREATE TABLE a AS SELECT x FROM generate_series(1, 100000) x", m0002_b=concurrently
    )
    ran = await asyncio.gather(*(migrate(database.primary, tmp_path) for _ in range(3)))
    assert sorted(map(len, ran)) == [0, 0, 2]


async def test_a_migration_waits_for_a_lock_without_making_others_wait(
    database: PostgresConfig, tmp_path: Path
) -> None:
    await migrate(database.primary, write(tmp_path, m0001_a="CREATE TABLE a (x int)"))
    reader = await asyncpg.connect(database.primary)
    try:
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute("SELECT * FROM a")
        write(tmp_path, m0002_b="ALTER TABLE a ADD COLUMN y int")
        migrating = asyncio.create_task(migrate(database.primary, tmp_path))
        other = await asyncpg.connect(database.primary, command_timeout=20)
        try:
            for _ in range(5):  # one of them comes while it waits, and goes on once that was given up
                await other.execute("SELECT * FROM a")
                await asyncio.sleep(0.2)
        finally:
            await other.close()
        assert not migrating.done()
        await transaction.rollback()
        assert await migrating == ["0002_b.sql"]
    finally:
        await reader.close()


async def test_a_migration_and_a_writer_that_wait_for_each_other_both_go_on(
    database: PostgresConfig, tmp_path: Path
) -> None:
    await migrate(database.primary, write(tmp_path, m0001_a="CREATE TABLE a (x int); CREATE TABLE b (x int)"))
    writer = await asyncpg.connect(f"{database.primary}?deadlock_timeout=60s")  # it is not the one that fails
    try:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO b VALUES (1)")
        write(tmp_path, m0002_b="ALTER TABLE a ADD COLUMN y int; ALTER TABLE b ADD COLUMN y int")
        migrating = asyncio.create_task(migrate(database.primary, tmp_path))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass"
        await eventually(lambda: writer.fetchval(waits), what="a migration that has one table and waits")
        await writer.execute("INSERT INTO a VALUES (1)")
        await transaction.commit()
        assert await migrating == ["0002_b.sql"]
    finally:
        await writer.close()


async def test_a_process_starts_while_a_backup_reads_all_tables(
    database: PostgresConfig, tmp_path: Path
) -> None:
    await migrate(database.primary, write(tmp_path, m0001_a="CREATE TABLE a (x int)"))
    backup = await asyncpg.connect(database.primary)
    try:
        transaction = backup.transaction()
        await transaction.start()
        await backup.execute("LOCK TABLE a, schema_migrations IN ACCESS SHARE MODE")  # as pg_dump does
        assert await migrate(f"{database.primary}?lock_timeout=2s", tmp_path) == []
        await transaction.rollback()
    finally:
        await backup.close()


async def test_reads_go_to_the_replica_and_writes_to_the_primary(database: PostgresConfig) -> None:
    pg = await postgres.connect(database)
    try:
        async with pg.write() as connection:
            assert not await connection.fetchval("SELECT pg_is_in_recovery()")
            await connection.execute("CREATE TABLE a AS SELECT 7 AS x")
        # Right after a write, the primary knows.
        assert await pg.fetchval("SELECT x FROM a", fresh=True) == 7

        async def on_replica() -> bool:
            await pg.measure()
            return bool(await pg.fetchval("SELECT pg_is_in_recovery()"))

        await eventually(on_replica)
        async with pg.read() as connection:
            assert await connection.fetchval("SELECT pg_is_in_recovery()")
        async with pg.read(fresh=True) as connection:
            assert not await connection.fetchval("SELECT pg_is_in_recovery()")
    finally:
        await pg.close()


async def test_a_replica_that_falls_behind_is_left_out_until_it_has_caught_up(
    database: PostgresConfig,
) -> None:
    pg = await postgres.connect(replace(database, max_lag_s=0.5))
    replica = await asyncpg.connect(database.replicas[0])

    async def at_replica() -> bool:
        await pg.measure()
        return bool(await pg.fetchval("SELECT pg_is_in_recovery()"))

    async def at_primary() -> bool:
        return not await at_replica()

    try:
        await eventually(at_replica)
        await replica.execute("SELECT pg_wal_replay_pause()")
        try:
            async with pg.write() as connection:
                await connection.execute("CREATE TABLE a AS SELECT 7 AS x")
            await eventually(at_primary)
            assert await pg.fetchval("SELECT x FROM a") == 7, "without asking for what is fresh"
            assert 0.5 < lag() < 60
        finally:
            await replica.execute("SELECT pg_wal_replay_resume()")
        await eventually(at_replica)
        assert lag() < 0.5
    finally:
        await replica.close()
        await pg.close()


def lag() -> float:
    found = REGISTRY.get_sample_value("marquee_postgres_replica_lag_seconds", {"replica": "replica-1"})
    assert found is not None
    return found


async def test_a_transaction_that_fails_changes_nothing(database: PostgresConfig) -> None:
    pg = await postgres.connect(database)
    try:
        async with pg.write() as connection:
            await connection.execute("CREATE TABLE a (x int)")

        async def fails() -> None:
            async with pg.write() as connection:
                await connection.execute("INSERT INTO a VALUES (1)")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fails()
        assert await pg.fetchval("SELECT count(*) FROM a", fresh=True) == 0
    finally:
        await pg.close()


async def test_reads_survive_a_primary_that_is_gone(database: PostgresConfig) -> None:
    pg = await postgres.connect(PostgresConfig(primary=NOBODY, replicas=database.replicas, timeout_s=10))
    try:

        async def answers() -> bool:
            await pg.measure()
            return bool(await pg.fetchval("SELECT 1") == 1)

        await eventually(answers)
        with pytest.raises(MarqueeError) as caught:
            async with pg.write():
                pass
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
    finally:
        await pg.close()


async def test_reads_survive_a_replica_that_is_gone(database: PostgresConfig) -> None:
    pg = await postgres.connect(PostgresConfig(primary=database.primary, replicas=(NOBODY,), timeout_s=10))
    try:
        assert await pg.fetchval("SELECT 1") == 1
    finally:
        await pg.close()


async def test_with_everything_gone_the_answer_comes_soon_and_says_so() -> None:
    pg = await postgres.connect(PostgresConfig(primary=NOBODY, replicas=(NOBODY,), timeout_s=0.5))
    try:
        with pytest.raises(MarqueeError) as caught:
            async with asyncio.timeout(60):
                await pg.fetchval("SELECT 1")
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        assert caught.value.retry_after
    finally:
        await pg.close()


async def test_a_statement_that_takes_too_long_is_given_up(database: PostgresConfig) -> None:
    pg = await postgres.connect(PostgresConfig(primary=database.primary, timeout_s=0.3))
    try:
        with pytest.raises(MarqueeError) as caught:
            await pg.fetchval("SELECT pg_sleep(30)")
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
    finally:
        await pg.close()


async def test_who_waits_for_a_connection_is_counted(database: PostgresConfig) -> None:
    pg = await postgres.connect(replace(database, pool_size=2))

    def pool(metric: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"marquee_postgres_pool_{metric}", {"server": "primary", **labels})

    async def hold() -> None:
        async with pg.write() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    calls = [asyncio.create_task(hold()) for _ in range(5)]
    try:
        await eventually(lambda: pool("connections", state="used") == 2)
        await eventually(lambda: pool("waiting") == 3)
        assert pool("limit_connections") == 2
    finally:
        await end(calls)
    await eventually(lambda: pool("waiting") == 0)
    await eventually(lambda: pool("connections", state="used") == 0)
    await pg.close()
