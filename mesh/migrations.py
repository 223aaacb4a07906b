"""Database migrations: numbered SQL files, each run once, in order, under a lock.

A service's `migrations/` holds `0001_what_it_does.sql`, `0002_…`. Several
replicas that start at once wait for one another; a file that was changed after
it had run is refused, since nobody knows then what the database looks like.
"""

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from mesh import dial
from mesh.postgres import GONE

log = logging.getLogger(__name__)

_FILE_RE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_WAIT_S: Final = 60.0
_PAUSE_S: Final = 0.3

_CREATE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version int PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(RuntimeError):
    """The database and the files can't be brought together."""


@dataclass(frozen=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def find(folder: Path) -> list[Migration]:
    """Reads a folder's migrations.

    Raises:
        MigrationError: a file's name is not `NNNN_what.sql`, or a number is missing or there twice.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_RE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like 0001_what_it_does.sql")
        found.append(Migration(int(match[1]), path.name, path.read_text()))
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError(
            f"{folder.name}: the numbers of {', '.join(m.name for m in found)} are not 1, 2, 3 …"
        )
    return found


async def migrate(dsn: str, folder: Path) -> list[str]:
    """Brings the schema of the DSN's role up to date; gives the names of the files it ran.

    Waits up to a minute for the database to come.

    Raises:
        MigrationError: the files don't fit what was run before, or the database stays away.
    """
    migrations = find(folder)
    connection = await _connect(dsn)
    try:
        # The lock is the role's own: services don't wait for each other.
        await connection.execute("SELECT pg_advisory_lock(hashtext('migrations of ' || current_user))")
        await connection.execute(_CREATE)
        rows = await connection.fetch(
            "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
        )
        by_version = {m.version: m for m in migrations}
        for row in rows:
            known = by_version.get(row["version"])
            if known is None:
                raise MigrationError(
                    f"the database has {row['name']}, which this release does not know: it is too old"
                )
            if known.checksum != row["checksum"]:
                raise MigrationError(f"{known.name} was changed after it had run; add a new file instead")
        done = {row["version"] for row in rows}
        ran = []
        for migration in migrations:
            if migration.version in done:
                continue
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            log.info("ran migration %s", migration.name)
            ran.append(migration.name)
        return ran
    finally:
        await connection.close(timeout=5)


async def _connect(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while True:
        try:
            return await dial.connect(dsn, timeout=5, command_timeout=300)
        except GONE as error:
            if asyncio.get_running_loop().time() > deadline:
                raise MigrationError(f"the database stayed away for {_WAIT_S:.0f} s: {error}") from error
            await asyncio.sleep(_PAUSE_S)
