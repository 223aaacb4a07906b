"""One local stack: its folder, its ports, its secrets, and the addresses that follow from them."""

import contextlib
import json
import os
import random
import secrets
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
DATABASE: Final = "marquee"
DEFAULT_EDGE_PORT: Final = 8080

# Below the range that the kernel gives to outgoing connections (32768 on): a
# port from there may be someone's source port when a process comes back to it.
_PORTS: Final = range(20_000, 32_000)


class StackError(RuntimeError):
    """The stack can't do what was asked; the message says why and what to do."""


@dataclass(frozen=True)
class Home:
    """The folder of one stack: data, logs, secrets and state, all of it disposable."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

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
    def canaries_file(self) -> Path:
        """Which new releases run beside the stable ones."""
        return self.root / "canaries.json"

    def log(self, process: str) -> Path:
        """Where a process's output goes."""
        return self.logs / f"{process}.log"

    def make(self) -> None:
        """Makes the folders. Others may pass through, since PostgreSQL may have to run as another user."""
        for folder in (self.root, self.data, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)

    def remove(self) -> None:
        """Removes all of it, and nothing else that may lie in the same folder."""
        for folder in (self.data, self.logs, self.envoy, self.tokens, self.certificates):
            shutil.rmtree(folder, ignore_errors=True)
        made = (self.state_file, self.ports_file, self.lock_file, self.secrets_file)
        for file in (*made, self.flags_file, self.canaries_file):
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

    @property
    def secrets(self) -> Secrets:
        return Secrets(self.home.secrets_file)

    def port(self, process: str, purpose: str) -> int:
        return self.ports[f"{process}/{purpose}"]

    def address(self, process: str, purpose: str) -> str:
        return f"{HOST}:{self.port(process, purpose)}"

    @property
    def edge_url(self) -> str:
        return f"http://{self.address('envoy', 'edge')}"

    @property
    def kafka_bootstrap(self) -> str:
        return self.address("kafka", "broker")

    def dsn(self, role: str, server: str = "postgres", database: str = DATABASE) -> str:
        """A connection string; `server` is `postgres` (the primary) or `postgres-replica`."""
        password = self.secrets.get(f"postgres/{role}")
        return f"postgresql://{role}:{password}@{self.address(server, 'sql')}/{database}"

    def redis_url(self, user: str) -> str:
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

    `fixed` ones are taken as they are (0: any).

    Raises:
        StackError: a fixed port is taken.
    """
    chosen: dict[str, int] = {}
    candidates = iter(random.sample(_PORTS, len(_PORTS)))
    for name in names:
        wanted = fixed.get(name, 0)
        if wanted:
            if not _free(wanted):
                raise StackError(
                    f"port {wanted} is taken by another program: give another one with MARQUEE_EDGE_PORT"
                )
            chosen[name] = wanted
            continue
        last = kept.get(name, 0)
        if last in _PORTS and last not in chosen.values() and _free(last):
            chosen[name] = last
        else:
            chosen[name] = next(p for p in candidates if p not in chosen.values() and _free(p))
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


def _free(port: int) -> bool:
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
