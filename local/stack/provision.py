"""The stores of a local stack: what `mesh.provision` makes everywhere, and what replication needs here."""

import contextlib
from typing import Final

from local.stack.layout import Shape, Stack
from mesh import provision as everywhere
from mesh.provision import REDIS_ADMIN, SUPERUSER, Connection

__all__ = [
    "REDIS_ADMIN",
    "REPLICATOR",
    "REPLICA_SLOT",
    "REWINDER",
    "SUPERUSER",
    "provision",
    "provision_shard",
    "redis_acl",
]

REPLICATOR: Final = "replicator"
REPLICA_SLOT: Final = "replica"
REWINDER: Final = "rewinder"


def redis_acl(stack: Stack) -> str:
    """The users of Redis."""
    return everywhere.redis_acl(lambda user: stack.secrets.get(f"redis/{user}"))


async def provision(stack: Stack) -> None:
    """Makes database, roles and schemas, or sets them right. May run any number of times.

    Raises:
        asyncpg.PostgresError: the primary refused.
    """
    async with _superuser(stack, "postgres") as connection:
        password = stack.secrets.get(f"postgres/{REPLICATOR}")
        await everywhere.make_role(connection, REPLICATOR, password, "REPLICATION")
        if stack.shape is Shape.PLAIN:  # in a cluster, Patroni makes the slots, and deletes others
            await _make_slot(connection)
    passwords = {name: stack.secrets.get(f"postgres/{name}") for name in everywhere.WITH_SCHEMA}
    await everywhere.provision(lambda database: _superuser(stack, database), passwords)
    if stack.shape is Shape.CLUSTER:
        async with _superuser(stack, "postgres") as connection:
            # By it, pg_rewind reads from the new primary what an old one must go back to.
            await connection.execute(f"GRANT CONNECT ON DATABASE postgres TO {REWINDER}")


async def provision_shard(stack: Stack, name: str) -> None:
    """The same in a database beside the first, for the services whose rows may be there.

    Raises:
        asyncpg.PostgresError: it refused.
    """
    passwords = {service: stack.secrets.get(f"postgres/{service}") for service in everywhere.SHARDED}
    await everywhere.provision(lambda database: _superuser(stack, database, name), passwords)


async def replica_is_lost(stack: Stack) -> bool:
    """Whether the primary no longer has the log that the replica would need; its slot is then made again."""
    async with _superuser(stack, "postgres") as connection:
        status = await connection.fetchval(
            "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", REPLICA_SLOT
        )
        if status != "lost":
            return False
        await connection.execute("SELECT pg_drop_replication_slot($1)", REPLICA_SLOT)
        await _make_slot(connection)
        return True


async def _make_slot(connection: Connection) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", REPLICA_SLOT):
        await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", REPLICA_SLOT)


def _superuser(
    stack: Stack, database: str, server: str = "postgres"
) -> contextlib.AbstractAsyncContextManager[Connection]:
    return everywhere.session(stack.dsn(SUPERUSER, server, database), database)
