"""One local stack: its folder, its ports, its secrets, and the addresses that follow from them."""

import contextlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from local.stack import sections
from mesh.services import DATABASE

HOST: Final = "127.0.0.1"
DEFAULT_EDGE_PORT: Final = 8080

# Below the range that the kernel gives to outgoing connections (32768 on): a
# port from there may be someone's source port when a process comes back to it.
_PORTS: Final = range(20_000, 32_000)


MOST_SHARDS: Final = 8
"""Databases of ratings in a stack, at most."""


def shard_name(number: int) -> str:
    """The process that is a database of ratings beside the first: 1, 2 …"""
    return f"postgres-shard-{number}"


class StackError(RuntimeError):
    """The stack can't do what was asked; the message says why and what to do."""


class Shape(StrEnum):
    """What a stack is made of."""

    PLAIN = "plain"
    """One of each process, and a replica of PostgreSQL: as light as can be."""
    CLUSTER = "cluster"
    """As in production: every store survives the loss of a server, and there are two of each service."""


@dataclass(frozen=True)
class Home:
    """The folder of one stack: data, logs, secrets and state, all of it disposable."""

    root: Path

    def data(self, shape: Shape) -> Path:
        """Where the stores keep their data: each shape its own, since neither can read the other's."""
        return self.root / ("data" if shape is Shape.PLAIN else f"data-{shape}")

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def envoy(self) -> Path:
        return self.root / "envoy"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def certificates(self) -> Path:
        return self.root / "certificates"

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def ports_file(self) -> Path:
        return self.root / "ports.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def secrets_file(self) -> Path:
        return self.root / "secrets.json"

    @property
    def flags_file(self) -> Path:
        """The feature flags of this stack, to be edited by hand."""
        return self.root / "flags.json"

    @property
    def observability(self) -> Path:
        """What Prometheus and Alertmanager are told."""
        return self.root / "observability"

    @property
    def log_levels_file(self) -> Path:
        """From which level on running processes write lines."""
        return self.root / "log-levels"

    @property
    def canaries_file(self) -> Path:
        """Which new releases run beside the stable ones."""
        return self.root / "canaries.json"

    @property
    def drill_file(self) -> Path:
        """Which drill runs or was killed, and what mending it needs."""
        return self.root / "drill.json"

    def log(self, process: str) -> Path:
        """Where a process's output goes."""
        return self.logs / f"{process}.log"

    def make(self) -> None:
        """Makes the folders. Others may pass through, since PostgreSQL may have to run as another user."""
        for folder in (self.root, *map(self.data, Shape), self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)
        if not self.flags_file.exists():
            self.flags_file.write_text('{"version": 2, "features": []}\n')

    def remove(self) -> None:
        """Removes all of it, and nothing else that may lie in the same folder."""
        for folder in (
            *map(self.data, Shape),
            self.logs,
            self.envoy,
            self.tokens,
            self.certificates,
            self.observability,
        ):
            shutil.rmtree(folder, ignore_errors=True)
        made = (self.state_file, self.ports_file, self.lock_file, self.secrets_file)
        for file in (*made, self.flags_file, self.canaries_file, self.log_levels_file, self.drill_file):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.root.rmdir()


def default_home() -> Home:
    """MARQUEE_HOME, or `.marquee` in the checkout that this code runs from."""
    given = os.environ.get("MARQUEE_HOME")
    return Home(Path(given).resolve() if given else checkout() / ".marquee")


def checkout() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[2]


def cache_folder() -> Path:
    """Where downloads are kept for all stacks of this user: MARQUEE_CACHE, or `marquee` in the XDG cache."""
    given = os.environ.get("MARQUEE_CACHE")
    if given:
        return Path(given).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "marquee"


class Secrets:
    """Random passwords of one home, made when first asked for, kept in a file that only its owner reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, name: str) -> str:
        """The secret of that name: 32 letters and digits."""
        known = self._read()
        if name not in known:
            known[name] = secrets.token_hex(16)
            write_private(self._path, json.dumps(known, indent=2))
        return known[name]

    def _read(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        return known


@dataclass(frozen=True)
class Stack:
    """What all processes of a stack agree on.

    `ports` holds one number a `PROCESS/PURPOSE`, such as `movie_svc/grpc`;
    `instances` how many of a service's process run, where that is not one.
    """

    home: Home
    ports: Mapping[str, int]
    instances: Mapping[str, int] = field(default_factory=dict)
    shape: Shape = Shape.PLAIN
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Where a process listens, if that is not this machine's loopback."""

    @property
    def data(self) -> Path:
        """Where its stores keep their data."""
        return self.home.data(self.shape)

    @property
    def secrets(self) -> Secrets:
        return Secrets(self.home.secrets_file)

    def port(self, process: str, purpose: str) -> int:
        return self.ports[f"{process}/{purpose}"]

    def address(self, process: str, purpose: str) -> str:
        return f"{self.host(process)}:{self.port(process, purpose)}"

    def host(self, process: str) -> str:
        return self.hosts.get(process, HOST)

    @property
    def edge_url(self) -> str:
        return f"http://{self.address('envoy', 'edge')}"

    @property
    def kafka_bootstrap(self) -> str:
        """The addresses of all brokers, separated by commas."""
        return ",".join(self.address(name, "broker") for name in self.names("kafka"))

    @property
    def shards(self) -> int:
        """Over how many databases ratings may be spread."""
        return 1 + sum(f"{shard_name(number)}/sql" in self.ports for number in range(1, MOST_SHARDS))

    def dsn(self, role: str, server: str = "postgres", database: str = DATABASE) -> str:
        """A connection string; `server` is `postgres` (the primary), `postgres-replica` or a shard.

        In a cluster it names both proxies, each of which knows who the primary is, or a replica.
        """
        if self.shape is Shape.PLAIN:
            return self.dsn_at(self.address(server, "sql"), role, database)
        purpose = "primary" if server == "postgres" else "replica"
        return self.dsn_at(",".join(self.proxies(purpose)), role, database)

    def dsn_at(self, address: str, role: str, database: str = DATABASE) -> str:
        """A connection string of a server at that address."""
        password = self.secrets.get(f"postgres/{role}")
        return f"postgresql://{role}:{password}@{address}/{database}"

    def replica_dsns(self, role: str) -> list[str]:
        """The connection strings of all ways to a replica."""
        if self.shape is Shape.CLUSTER:
            return [self.dsn_at(address, role) for address in self.proxies("replica")]
        return [self.dsn(role, "postgres-replica")] if "postgres-replica/sql" in self.ports else []

    def proxies(self, purpose: str) -> list[str]:
        """Where the proxies before PostgreSQL listen, in a cluster; `purpose` is `primary` or `replica`."""
        return [self.address(name, purpose) for name in self.names("postgres-proxy")]

    @property
    def sentinels(self) -> str:
        """The addresses of Redis' sentinels, separated by commas; none in a plain stack."""
        return ",".join(
            self.address(n, "sentinel") for n in self.names("sentinel") if f"{n}/sentinel" in self.ports
        )

    def redis_url(self, user: str) -> str:
        """A connection string; where there are sentinels, its address does not count."""
        return f"redis://{user}:{self.secrets.get(f'redis/{user}')}@{self.address('redis', 'redis')}/0"

    @staticmethod
    def instance_names(process: str, instances: Mapping[str, int]) -> list[str]:
        """The names of a process's instances: the first has the plain name, the others `NAME.2`, …"""
        return [process, *(f"{process}.{i}" for i in range(2, instances.get(process, 1) + 1))]

    def names(self, process: str) -> list[str]:
        """The names of this stack's instances of a process."""
        return self.instance_names(process, self.instances)

    def target(self, service: str) -> str:
        """The gRPC target of all instances of a service."""
        addresses = ",".join(self.address(name, "grpc") for name in self.names(service))
        return f"ipv4:{addresses}" if "," in addresses else addresses


def choose_ports(names: Iterable[str], kept: Mapping[str, int], fixed: Mapping[str, int]) -> dict[str, int]:
    """A free port for each name: the one of last time if it is still free, so that addresses stay.

    No other process is given the new ones while this one lives. `fixed` ones are taken as they are (0: any).

    Raises:
        StackError: a fixed port is taken.
    """
    chosen: dict[str, int] = {}
    candidates = (port for port in sections.own(_PORTS) if port not in fixed.values())
    for name in names:
        wanted = fixed.get(name, 0)
        if wanted:
            if not is_free(wanted):
                hint = (
                    "give another one with MARQUEE_EDGE_PORT" if name == "envoy/edge" else f"{name} needs it"
                )
                raise StackError(f"port {wanted} is taken by another program: {hint}")
            chosen[name] = wanted
            continue
        last = kept.get(name, 0)
        if last in _PORTS and last not in chosen.values() and is_free(last):
            chosen[name] = last
        else:
            chosen[name] = next(p for p in candidates if p not in chosen.values() and is_free(p))
    return chosen


def kept_ports(home: Home) -> dict[str, int]:
    """The ports of last time; none if there was no last time."""
    try:
        kept: dict[str, int] = json.loads(home.ports_file.read_text())
    except FileNotFoundError:
        return {}
    return kept


def keep_ports(home: Home, ports: Mapping[str, int]) -> None:
    """Keeps ports for the next time, beside those of processes that don't run this time."""
    write_private(home.ports_file, json.dumps({**kept_ports(home), **ports}, indent=1))


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of the loopback."""
    with socket.socket() as probe:
        # As servers do it: a port that is only in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def write_private(path: Path, text: str) -> None:
    """Replaces a file atomically by one that only its owner can read."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.rename(path)
