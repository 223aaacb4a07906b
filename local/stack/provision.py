"""Who may reach what: one role, schema and key prefix a service (`mesh.services`), and nothing else.

In Kubernetes, whoever brings the stores makes the same, since there the passwords are its secrets.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import asyncpg

from local.stack.layout import DATABASE, Shape, Stack
from mesh import sessions
from mesh.services import SERVICES, Part

REPLICATOR: Final = "replicator"
REPLICA_SLOT: Final = "replica"
SUPERUSER: Final = "postgres"
REWINDER: Final = "rewinder"
REDIS_ADMIN: Final = "marquee_admin"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


_WITH_SCHEMA: Final = tuple(service.name for service in SERVICES if Part.PRIMARY in service.needs)


def redis_acl(stack: Stack) -> str:
    """The users of Redis: each service its own prefix, one administrator for probes, no default."""
    admin = stack.secrets.get(f"redis/{REDIS_ADMIN}")
    lines = ["user default off resetkeys resetchannels -@all", f"user {REDIS_ADMIN} on >{admin} ~* &* +@all"]
    for service in SERVICES:
        if Part.REDIS not in service.needs:
            continue
        password = stack.secrets.get(f"redis/{service.name}")
        lines.append(
            f"user {service.name} on >{password} ~{service.key_prefix}* resetchannels &{service.key_prefix}* "
            # Redis 6 counts all of CLIENT as an administrator's; tracking is what caches live on.
            "+@all -@admin -@dangerous +client|tracking +client|trackinginfo +client|caching "
            "+client|id +client|setname +client|getname +client|setinfo"
        )
    return "\n".join(lines) + "\n"


async def provision(stack: Stack) -> None:
    """Makes database, roles and schemas, or sets them right. May run any number of times.

    Raises:
        asyncpg.PostgresError: the primary refused.
    """
    async with _superuser(stack, "postgres") as connection:
        await _make_roles(stack, connection)
        if stack.shape is Shape.PLAIN:  # in a cluster, Patroni makes the slots, and deletes others
            await _make_slot(connection)
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        for database in (DATABASE, "postgres", "template1"):
            await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        if stack.shape is Shape.CLUSTER:
            # By it, pg_rewind reads from the new primary what an old one must go back to.
            await connection.execute(f"GRANT CONNECT ON DATABASE postgres TO {REWINDER}")
    async with _superuser(stack, DATABASE) as connection, connection.transaction():
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for name in _WITH_SCHEMA:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {name}")
            await connection.execute(f"REVOKE ALL ON SCHEMA {name} FROM PUBLIC")
            await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {name}")
            await connection.execute(f"ALTER ROLE {name} IN DATABASE {DATABASE} SET search_path = {name}")


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


async def _make_roles(stack: Stack, connection: Connection) -> None:
    for name, attributes in [(REPLICATOR, "REPLICATION"), *((name, "") for name in _WITH_SCHEMA)]:
        # Role statements take no parameters; names and passwords are this module's own.
        password = stack.secrets.get(f"postgres/{name}")
        exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
        verb = "ALTER" if exists else "CREATE"
        await connection.execute(f"{verb} ROLE {name} LOGIN {attributes} PASSWORD '{password}'")
    for name in _WITH_SCHEMA:
        for setting, value in sessions.SETTINGS.items():
            await connection.execute(f"ALTER ROLE {name} SET {setting} = '{value}'")


async def _make_slot(connection: Connection) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", REPLICA_SLOT):
        await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", REPLICA_SLOT)


@contextlib.asynccontextmanager
async def _superuser(stack: Stack, database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(stack.dsn(SUPERUSER, database=database), timeout=5, command_timeout=30)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)
