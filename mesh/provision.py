"""Who may reach what in the stores: a role, schema and key prefix a service (`mesh.services`), no more.

    python -m mesh.provision    makes database, roles and schemas, or corrects them

The local stack calls `provision` itself. In Kubernetes a Job runs the program before services migrate. It may
run any number of times, and again whenever a password was changed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg

from mesh import sessions
from mesh.config import ConfigError, load, setting
from mesh.services import DATABASE, SERVICES, Part

SUPERUSER: Final = "postgres"
REDIS_ADMIN: Final = "marquee_admin"

WITH_SCHEMA: Final = tuple(service.name for service in SERVICES if Part.PRIMARY in service.needs)
"""The services that have a role and a schema."""
SHARDED: Final = tuple(service.name for service in SERVICES if service.sharded)
"""Those of them whose rows may be in databases beside the first."""
WITH_KEYS: Final = tuple(service for service in SERVICES if Part.REDIS in service.needs)
"""The services that have a user and a prefix in Redis."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connect: TypeAlias = Callable[[str], contextlib.AbstractAsyncContextManager[Connection]]
"""Opens a session of the superuser in a database."""

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class ProvisionConfig:
    """What the program needs: PostgreSQL's superuser, and the services' passwords."""

    primary: str = setting(
        "MARQUEE_PROVISION_DSN",
        help="the DSN of PostgreSQL's superuser, in the database postgres; read by mesh.provision alone",
        secret=True,
    )
    passwords: str = setting(
        "MARQUEE_PROVISION_PASSWORDS",
        help="a folder with a file for each service, such as movie_svc, that holds its role's password; "
        "read by mesh.provision alone",
    )
    shard: bool = setting(
        "MARQUEE_PROVISION_SHARD",
        False,
        "the server is a shard beside the first: for services whose rows may be there; read by "
        "mesh.provision alone",
    )


def redis_acl(password: Callable[[str], str]) -> str:
    """The users of Redis: each service its own prefix, one administrator for probes, no default.

    `password` returns that of a user.
    """
    admin = password(REDIS_ADMIN)
    lines = ["user default off resetkeys resetchannels -@all", f"user {REDIS_ADMIN} on >{admin} ~* &* +@all"]
    lines += [
        f"user {service.name} on >{password(service.name)} "
        f"~{service.key_prefix}* resetchannels &{service.key_prefix}* "
        # Redis 6 counts all of CLIENT as an administrator's; tracking is what caches live on.
        "+@all -@admin -@dangerous +client|tracking +client|trackinginfo +client|caching "
        "+client|id +client|setname +client|getname +client|setinfo"
        for service in WITH_KEYS
    ]
    return "\n".join(lines) + "\n"


async def provision(connect: Connect, passwords: Mapping[str, str]) -> None:
    """Makes the database, and services' roles and schemas, or corrects them.

    `passwords` has that of each: of all in `WITH_SCHEMA`, or of those whose rows that server holds.

    Raises:
        asyncpg.PostgresError: the server refused.
    """
    async with connect("postgres") as connection:
        for name, password in passwords.items():
            await make_role(connection, name, password)
            for parameter, value in sessions.SETTINGS.items():
                await connection.execute(f"ALTER ROLE {name} SET {parameter} = '{value}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        for database in (DATABASE, "postgres", "template1"):
            await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    async with connect(DATABASE) as connection, connection.transaction():
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for name in passwords:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {name}")
            await connection.execute(f"REVOKE ALL ON SCHEMA {name} FROM PUBLIC")
            await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {name}")
            await connection.execute(f"ALTER ROLE {name} IN DATABASE {DATABASE} SET search_path = {name}")


async def make_role(connection: Connection, name: str, password: str, attributes: str = "") -> None:
    """Makes a role that may log in, or sets its password and attributes."""
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    verb = "ALTER" if exists else "CREATE"
    # Role statements take no parameters: PostgreSQL quotes the password itself.
    quoted = await connection.fetchval("SELECT quote_literal($1)", password)
    await connection.execute(f"{verb} ROLE {name} LOGIN {attributes} PASSWORD {quoted}")


def read_passwords(folder: Path, names: Sequence[str] = WITH_SCHEMA) -> dict[str, str]:
    """The passwords of services' roles, from a folder of files.

    Raises:
        ConfigError: one is missing or empty.
    """
    found = {}
    for name in names:
        try:
            found[name] = (folder / name).read_text().strip()
        except OSError as error:
            raise ConfigError(f"MARQUEE_PROVISION_PASSWORDS has no password of {name}: {error}") from None
        if not found[name]:
            raise ConfigError(f"MARQUEE_PROVISION_PASSWORDS: the password of {name} is empty")
    return found


@contextlib.asynccontextmanager
async def session(dsn: str, database: str) -> AsyncIterator[Connection]:
    """A session at the server of `dsn`, in `database`."""
    connection = await asyncpg.connect(dsn, database=database, timeout=5, command_timeout=_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def _run() -> None:
    config = load(ProvisionConfig)
    passwords = read_passwords(Path(config.passwords), SHARDED if config.shard else WITH_SCHEMA)
    await provision(lambda database: session(config.primary, database), passwords)


def main() -> None:
    """The program; ends with a sentence where the server refuses or is away. A Job tries again."""
    try:
        asyncio.run(_run())
    except (ConfigError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SystemExit(f"mesh.provision: {str(error) or type(error).__name__}") from None
    print("mesh.provision: roles and schemas are as they must be")


if __name__ == "__main__":
    main()
