"""PostgreSQL that fails over: Patroni starts the servers, and etcd says which of them leads.

A commit is answered when a standby has it too, and only a standby that has all
is promoted, so what was acknowledged outlives any one server. A primary that
comes back is set back to where the others left it (pg_rewind) and follows.
Patroni's settings: https://patroni.readthedocs.io/en/latest/dynamic_configuration.html
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import IO, Any, Final

from local.servers.postgres_server import SETTINGS, binary, give, plain_user
from local.stack.layout import HOST, Stack, write_private
from local.stack.provision import REPLICATOR, REWINDER, SUPERUSER

TTL_S: Final = 20
"""For how long a leader that is silent still leads, in seconds: the least that Patroni allows."""

# These must be alike everywhere, or a standby refuses to follow: Patroni keeps them in etcd.
_ALIKE: Final = {
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_log_hints": "on",
    "max_connections": 160,
    "max_worker_processes": 4,
    "max_wal_senders": 8,
    "max_replication_slots": 8,
}

_OWN: Final = {
    **{name: value for name, value in SETTINGS.items() if name not in (*_ALIKE, "listen_addresses")},
    # A standby that hangs holds up every commit until its connection counts as lost.
    "wal_sender_timeout": "3s",
    "wal_receiver_timeout": "5s",
    "wal_keep_size": "128MB",
}


def command(stack: Stack, name: str) -> list[str]:
    return [sys.executable, "-m", "patroni", str(_config(stack, name))]


def privileges(stack: Stack) -> list[str]:
    """As PostgreSQL, whose server it starts by way of another Python."""
    return plain_user(stack, Path(sys.executable))


async def prepare(stack: Stack, name: str, _log: IO[bytes]) -> None:
    """Makes the server's folder, and writes Patroni's configuration: JSON, which is YAML too."""
    folder = _folder(stack, name)
    folder.mkdir(mode=0o700, exist_ok=True)
    give(folder)
    write_private(_config(stack, name), json.dumps(_settings(stack, name), indent=1))
    give(_config(stack, name))


def server_pids(stack: Stack, name: str) -> list[int]:
    """The PostgreSQL server of an instance: it outlives its Patroni, which finds it again."""
    data = _folder(stack, name) / "data"
    with contextlib.suppress(OSError, ValueError):
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        if str(data) in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
            return [pid]
    return []


def _settings(stack: Stack, name: str) -> dict[str, Any]:
    rest, sql = stack.address(name, "rest"), stack.address(name, "sql")
    return {
        "scope": "marquee",
        "name": name,
        "log": {"level": "INFO", "deduplicate_heartbeat_logs": True},
        "restapi": {
            "listen": rest,
            "connect_address": rest,
            "authentication": {"username": "patroni", "password": stack.secrets.get("patroni")},
        },
        "etcd3": {"hosts": [stack.address(each, "client") for each in stack.names("etcd")]},
        "bootstrap": {
            "dcs": _rules(),
            "initdb": [
                {"encoding": "UTF8"},
                {"locale": "C.UTF-8"},
                {"auth": "scram-sha-256"},
                "data-checksums",
            ],
        },
        "postgresql": {
            "listen": sql,
            "connect_address": sql,
            "data_dir": str(_folder(stack, name) / "data"),
            "bin_dir": str(binary("postgres").parent),
            "pgpass": str(_folder(stack, name) / "pgpass"),
            "authentication": {
                kind: {"username": user, "password": stack.secrets.get(f"postgres/{user}")}
                for kind, user in (
                    ("superuser", SUPERUSER),
                    ("replication", REPLICATOR),
                    ("rewind", REWINDER),
                )
            },
            "parameters": _OWN,
            "pg_hba": [
                f"host all all {HOST}/32 scram-sha-256",
                f"host replication {REPLICATOR} {HOST}/32 scram-sha-256",
            ],
        },
        "watchdog": {"mode": "off"},
    }


def _rules() -> dict[str, Any]:
    """What all members agree on, kept in etcd from the first start on."""
    return {
        "ttl": TTL_S,
        "loop_wait": 2,
        "retry_timeout": 5,
        "synchronous_mode": True,
        # Strict, the last server alone would take no writes; so it goes on with one copy.
        "synchronous_mode_strict": False,
        # A server that crashed gives its role to another at once: recovering would take longer.
        "primary_start_timeout": 0,
        # With etcd away, the primary goes on as long as it reaches all the others.
        "failsafe_mode": True,
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": dict(_ALIKE)},
    }


def _folder(stack: Stack, name: str) -> Path:
    return stack.data / name


def _config(stack: Stack, name: str) -> Path:
    return _folder(stack, name) / "patroni.json"
