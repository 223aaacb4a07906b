"""The processes of a local stack: this table is the whole of it. A new service is one more entry."""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Final

from mesh.local import envoy_server, kafka_server, postgres_server, probes, redis_server, services
from mesh.local.probes import Probe
from mesh.local.provision import provision
from mesh.local.stack import Stack, StackError

INFRA: Final = "infra"

Prepare = Callable[[Stack, IO[bytes]], Awaitable[None]]


@dataclass(frozen=True)
class Process:
    """How one process is started, found ready, and stopped."""

    name: str
    command: Callable[[Stack, str], Sequence[str]]
    """From the stack and the name of the instance."""
    ports: Sequence[str]
    """What it needs ports for."""
    probe: Probe
    needs: Sequence[str] = ()
    """Processes that must be ready first and stop later, as far as they are part of the stack."""
    environment: Callable[[Stack, str], Mapping[str, str]] = lambda _stack, _name: {}
    prepare: Prepare | None = None
    """Runs before each first start, with the log to write to."""
    once_ready: Callable[[Stack], Awaitable[None]] | None = None
    """Runs when it first answers, before others may count on it."""
    privileges: Callable[[Stack], Sequence[str]] = lambda _stack: ()
    """Options of setpriv."""
    successor: Callable[[int], Sequence[str]] | None = None
    """More options for the process that takes over from a running one; from how many there were before."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0


INFRASTRUCTURE: Final = (
    Process(
        "postgres",
        lambda stack, _: postgres_server.primary_command(stack),
        ports=["sql"],
        probe=probes.primary,
        prepare=postgres_server.prepare_primary,
        once_ready=provision,
        privileges=postgres_server.plain_user,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
    ),
    Process(
        "postgres-replica",
        lambda stack, _: postgres_server.replica_command(stack),
        ports=["sql"],
        probe=probes.replica,
        needs=["postgres"],
        prepare=postgres_server.prepare_replica,
        privileges=postgres_server.plain_user,
        stop_signal=signal.SIGINT,
    ),
    Process(
        "redis",
        lambda stack, _: redis_server.command(stack),
        ports=["redis"],
        probe=probes.redis,
        prepare=redis_server.prepare,
    ),
    Process(
        "kafka",
        lambda stack, _: kafka_server.command(stack),
        ports=["broker", "controller"],
        probe=probes.kafka,
        prepare=kafka_server.prepare,
    ),
)

OMDB: Final = Process(
    "omdb",
    services.omdb_command,
    ports=["http"],
    probe=probes.omdb,
)


def _service(module: str, role: str, needs: Sequence[str]) -> Process:
    """A process of a service: `python -m MODULE ROLE` with the environment of its service."""
    return Process(
        module if role == "serve" else f"{module}-{role}",
        partial(services.command, module=module, role=role),
        ports=["grpc", "metrics"],
        probe=probes.grpc,
        needs=needs,
        environment=partial(services.environment, service=module),
        stop_timeout_s=20.0,
    )


SERVICES: Final = (
    _service("movie_svc", "serve", needs=["postgres", "postgres-replica", "redis", "kafka", "omdb"]),
    _service("rating_svc", "serve", needs=["postgres", "postgres-replica", "redis", "kafka"]),
    _service("rating_svc", "worker", needs=["postgres", "redis", "kafka"]),
    _service("rating_svc", "relay", needs=["postgres", "kafka"]),
    _service("ranking_svc", "serve", needs=["postgres", "postgres-replica", "redis", "kafka"]),
    _service("ranking_svc", "consumer", needs=["postgres", "redis", "kafka"]),
)

EDGE: Final = Process(
    "envoy",
    lambda stack, _: envoy_server.command(stack),
    ports=["edge", "admin"],
    probe=probes.envoy,
    needs=["movie_svc", "rating_svc", "ranking_svc"],
    prepare=envoy_server.prepare,
    successor=envoy_server.successor,
)

CONTROLLER: Final = Process(
    "edge-controller",
    services.controller_command,
    ports=["metrics"],
    probe=probes.metrics,
    needs=["envoy"],
    environment=services.controller_environment,
)


ALL: Final = (*INFRASTRUCTURE, OMDB, *SERVICES, EDGE, CONTROLLER)


def wanted() -> list[Process]:
    """The processes of a whole mesh here: no OMDb simulator where there is a key for the real one."""
    return [process for process in ALL if process is not OMDB or not os.environ.get("OMDB_API_KEY")]


def select(only: Sequence[str]) -> list[Process]:
    """The processes of these names with all that they need; none given means all.

    A name also stands for those that begin with it and a hyphen; `infra` for
    all that is no code of Marquee's own, and OMDb.

    Raises:
        StackError: there is none of that name.
    """
    known = {process.name: process for process in wanted()}
    if not only:
        return list(known.values())
    infrastructure = [p.name for p in known.values() if p in (*INFRASTRUCTURE, OMDB)]
    chosen: set[str] = set()

    def add(name: str) -> None:
        if name not in chosen:
            chosen.add(name)
            for needed in known[name].needs:
                if needed in known:
                    add(needed)

    for text in only:
        matching = [name for name in known if name == text or name.startswith(f"{text}-")]
        if text == INFRA:
            matching = infrastructure
        if not matching:
            raise StackError(f"there is no process {text!r}: there are {', '.join(known)}, and {INFRA}")
        for name in matching:
            add(name)
    return [process for process in known.values() if process.name in chosen]


def instance_names(processes: Sequence[Process], instances: Mapping[str, int]) -> list[str]:
    """The names of all instances of these processes."""
    return [name for process in processes for name in Stack.instance_names(process.name, instances)]


def port_names(processes: Sequence[Process], instances: Mapping[str, int]) -> list[str]:
    """All `INSTANCE/PURPOSE` that need a port."""
    return [
        f"{name}/{purpose}"
        for process in processes
        for name in Stack.instance_names(process.name, instances)
        for purpose in process.ports
    ]
