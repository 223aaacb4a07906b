"""Database migrations: numbered SQL files, each run once, in order, under a lock.

A service's `migrations/` holds `0001_what_it_does.sql`, `0002_…`. Several
replicas that start at once wait for one another; a file that was changed after
it had run is refused, since nobody knows then what the database looks like.

Expand, then contract: a file is taken to leave a schema that the release before
can still run with, so that two releases run side by side and one can be rolled
back. A file that takes something away begins with `-- marquee: contract`; it
only runs with MARQUEE_MIGRATIONS_CONTRACT, and after it older releases refuse
to start. `-- marquee: no transaction` is for CREATE INDEX CONCURRENTLY: each
statement runs by itself and must be safe to run again.
`-- marquee: known as OLD, now NEW`, as the first line, is for a file whose text
was replaced by another one that leaves the same schema: databases where the
earlier text ran, and releases that have it, know it by the checksum OLD; NEW is
that of the lines below.
See docs/decisions/0052.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from mesh import dial
from mesh.config import load, setting
from mesh.postgres import GONE

log = logging.getLogger(__name__)

_FILE_RE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_MARK_RE: Final = re.compile(r"^-- marquee: (.*)$", re.MULTILINE)
_MARKS: Final = {"contract", "no transaction"}
_KNOWN_AS_RE: Final = re.compile(r"known as ([0-9a-f]{64}), now ([0-9a-f]{64})")
_WAIT_S: Final = 60.0
_PAUSE_S: Final = 0.3
# Who waits for a table's lock makes all wait that come after: not for long, and again.
_LOCK_TIMEOUT: Final = "2s"
_LOCK_ATTEMPTS: Final = 60

# Whoever is about to change a table waits for its readers: only where there is something to change. Else
# no process could start while somebody reads this table for long, as a backup does.
_IS_THERE: Final = """
SELECT EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = to_regclass('schema_migrations') AND attname = 'contract')"""
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version int PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS contract boolean NOT NULL DEFAULT false"""


@dataclass(frozen=True)
class MigrationConfig:
    """Which migrations may run."""

    contract: bool = setting(
        "MARQUEE_MIGRATIONS_CONTRACT",
        False,
        "run migrations after which the release before can't run any more; set it once none of it does",
    )


class MigrationError(RuntimeError):
    """The database and the files can't be brought together."""


class DatabaseAway(MigrationError):
    """The database stayed away."""


@dataclass(frozen=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What tells it from another text of the same name."""
        for mark in self.marks:
            if known := _KNOWN_AS_RE.fullmatch(mark):
                below = _sha256(self.sql.partition("\n")[2])
                return known[1] if below == known[2] else below
        return _sha256(self.sql)

    @property
    def marks(self) -> set[str]:
        """What its lines `-- marquee: …` say."""
        return set(_MARK_RE.findall(self.sql))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
        migration = Migration(int(match[1]), path.name, path.read_text())
        if unknown := {mark for mark in migration.marks - _MARKS if not _KNOWN_AS_RE.fullmatch(mark)}:
            raise MigrationError(f"{path.name} is marked {sorted(unknown)[0]!r}: there are {sorted(_MARKS)}")
        found.append(migration)
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError(
            f"{folder.name}: the numbers of {', '.join(m.name for m in found)} are not 1, 2, 3 …"
        )
    return found


async def migrate(
    dsn: str, folder: Path, *, contract: bool | None = None, patience_s: float = _WAIT_S
) -> list[str]:
    """Brings the schema of the DSN's role up to date; returns the names of the files it ran.

    Waits up to `patience_s` for the database to come, and for another that migrates
    for as long as that takes. Stops before a file that contracts, unless
    `contract` (by default MARQUEE_MIGRATIONS_CONTRACT) allows it.

    Raises:
        DatabaseAway: the database stays away.
        MigrationError: the files don't fit what was run before.
    """
    migrations = find(folder)
    allowed = load(MigrationConfig).contract if contract is None else contract
    connection = await _connect(dsn, patience_s)
    try:
        await _take_turn(connection)
        if not await connection.fetchval(_IS_THERE):
            await connection.execute(_CREATE)
        done = await _done(connection, migrations)
        ran = []
        for migration in migrations:
            if migration.version in done:
                continue
            if "contract" in migration.marks and not allowed:
                log.warning(
                    "%s waits for MARQUEE_MIGRATIONS_CONTRACT, and so does all after it", migration.name
                )
                break
            await _run(connection, migration)
            log.info("ran migration %s", migration.name)
            ran.append(migration.name)
        return ran
    finally:
        await connection.close(timeout=5)


async def _take_turn(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Waits until no other migrates for this role: services don't wait for each other.

    It asks again and again: a statement that waits would hold a snapshot, and
    CREATE INDEX CONCURRENTLY in turn waits for those.
    """
    await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
    take = "SELECT pg_try_advisory_lock(hashtext('migrations of ' || current_user))"
    waiting = False
    while not await connection.fetchval(take):
        if not waiting:
            log.info("another process migrates; waiting for it")
            waiting = True
        await asyncio.sleep(_PAUSE_S)


async def _done(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]
) -> set[int]:
    """The versions that have run, if this release can run with them."""
    rows = await connection.fetch(
        "SELECT version, name, checksum, contract FROM schema_migrations ORDER BY version"
    )
    by_version = {m.version: m for m in migrations}
    for row in rows:
        known = by_version.get(row["version"])
        if known is None and row["contract"]:
            raise MigrationError(
                f"the database has {row['name']}, after which this release can't run: it is too old"
            )
        if known is None:
            log.warning("the database has %s, which this release does not know: a newer one ran", row["name"])
        elif known.checksum != row["checksum"]:
            raise MigrationError(f"{known.name} was changed after it had run; add a new file instead")
    return {row["version"] for row in rows}


async def _run(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    if "no transaction" in migration.marks:
        await connection.execute("SET lock_timeout = 0")
        for statement in re.split(r";\s*$", migration.sql, flags=re.MULTILINE):
            if statement.strip():
                await connection.execute(statement)
        await _note(connection, migration)
        return
    await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
    for attempt in range(1, _LOCK_ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await _note(connection, migration)
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if attempt == _LOCK_ATTEMPTS:
                raise MigrationError(f"{migration.name} got no lock: {error}") from error
            log.info("%s waits for a lock", migration.name)
            await asyncio.sleep(_PAUSE_S)


async def _note(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum, contract) VALUES ($1, $2, $3, $4)",
        migration.version,
        migration.name,
        migration.checksum,
        "contract" in migration.marks,
    )


async def _connect(dsn: str, patience_s: float) -> "asyncpg.Connection[asyncpg.Record]":
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            # No time-out for statements: who fills a column of all ratings takes longer than any guess.
            return await dial.connect(dsn, timeout=5)
        except GONE as error:
            if asyncio.get_running_loop().time() > deadline:
                raise DatabaseAway(f"the database stayed away for {patience_s:.0f} s: {error}") from error
            await asyncio.sleep(_PAUSE_S)
