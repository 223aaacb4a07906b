"""The processes of a local stack: its stores (`stores`), Marquee's own, and the edge.

Those of services follow from `mesh.services`: a new service is an entry there.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from local.servers import (
    dash_server,
    envoy_server,
    index_server,
    jaeger,
    observability,
    probes,
    services,
    shipper,
)
from local.servers.process import SLOW_START_S, Process
from local.stack.layout import Shape, Stack, StackError
from local.supervision.stores import INSTANCES, SHARDS, STANDS_FOR, STORES
from mesh.services import PUBLIC, SERVICES, Part, Role, Service

INFRA: Final = "infra"
OBSERVABILITY: Final = "observability"
TRACES: Final = "traces"

OMDB: Final = Process(
    "omdb",
    services.omdb_command,
    ports=["http"],
    probe=probes.omdb,
)


def _process(service: Service, role: Role) -> Process:
    return Process(
        service.process(role),
        partial(services.command, module=service.name, role=role.name),
        ports=["grpc", "metrics"],
        probe=probes.grpc,
        needs=[
            *(name for part in role.needs for name in STANDS_FOR[part]),
            *(shard.name for shard in SHARDS if service.sharded and Part.PRIMARY in role.needs),
        ],
        environment=partial(services.environment, service=service.name),
        stop_timeout_s=20.0,
    )


OWN: Final = tuple(_process(service, role) for service in SERVICES for role in service.roles)
"""The processes of Marquee's services."""

EDGE: Final = Process(
    "envoy",
    lambda stack, _: envoy_server.command(stack),
    ports=["edge", "admin"],
    probe=probes.envoy,
    needs=[service.name for service in PUBLIC],
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


# They watch all others, so that they begin last and end first.
OBSERVERS: Final = (
    Process(
        observability.ALERTMANAGER,
        observability.alertmanager_command,
        ports=["http"],
        probe=observability.ready,
        needs=["envoy", "edge-controller"],
        environment=observability.environment,
        prepare=observability.prepare_alertmanager,
    ),
    Process(
        observability.REDIS_EXPORTER,
        observability.exporter_command,
        ports=["http"],
        probe=observability.exports,
        needs=["envoy", "edge-controller"],
        environment=observability.exporter_environment,
        prepare=observability.prepare_exporter,
    ),
    Process(
        observability.PROMETHEUS,
        observability.prometheus_command,
        ports=["http"],
        probe=observability.ready,
        needs=["envoy", "edge-controller", observability.ALERTMANAGER, observability.REDIS_EXPORTER],
        environment=observability.environment,
        prepare=observability.prepare_prometheus,
    ),
    Process(
        index_server.INDEX,
        index_server.command,
        ports=["http", "transport"],
        probe=index_server.ready,
        needs=["envoy", "edge-controller"],
        prepare=index_server.prepare,
        once_ready=index_server.provide,
        privileges=index_server.privileges,
        start_timeout_s=SLOW_START_S,
        stop_timeout_s=30.0,
    ),
    Process(
        shipper.SHIPPER,
        shipper.command,
        ports=[],
        probe=shipper.ready,
        needs=[index_server.INDEX],
        prepare=shipper.prepare,
    ),
    Process(
        dash_server.DASH,
        dash_server.command,
        ports=["http"],
        probe=dash_server.ready,
        needs=[observability.PROMETHEUS, index_server.INDEX],
        environment=dash_server.environment,
        prepare=dash_server.prepare,
    ),
)


COLLECTOR: Final = Process(
    jaeger.JAEGER,
    jaeger.command,
    ports=jaeger.PORTS,
    probe=jaeger.ready,
    environment=jaeger.environment,
    prepare=jaeger.prepare,
)
"""Of spans. It needs nobody, and nobody needs it."""


def table(shape: Shape) -> tuple[Process, ...]:
    """All processes that a stack of this shape may have."""
    return (*STORES[shape], OMDB, *OWN, EDGE, CONTROLLER, COLLECTOR, *OBSERVERS)


def usual_instances(shape: Shape) -> dict[str, int]:
    """How many instances of each process a shape has, where that is not one."""
    own = {process.name: 2 for process in OWN} if shape is Shape.CLUSTER else {}
    return {**INSTANCES[shape], **own}


def wanted(shape: Shape, shards: int = 1) -> list[Process]:
    """The processes of a whole mesh here: no OMDb simulator where there is a key for the real one."""
    simulated = not os.environ.get("OMDB_API_KEY")
    left_out = (COLLECTOR, *OBSERVERS, *SHARDS[shards - 1 :], *(() if simulated else (OMDB,)))
    return [each for each in table(shape) if each not in left_out]


def select(only: Sequence[str], shape: Shape = Shape.PLAIN, shards: int = 1) -> list[Process]:
    """The processes of these names with all that they need; none given means all.

    A name also stands for those that begin with it and a hyphen; `infra` for
    all that is no code of Marquee's own, and OMDb. `observability` adds what
    watches the others, `traces` where their spans go.

    Raises:
        StackError: there is none of that name.
    """
    known = {process.name: process for process in wanted(shape, shards)}
    observers = [
        *([COLLECTOR] if TRACES in only else []),
        *(OBSERVERS if OBSERVABILITY in only else []),
    ]
    only = [name for name in only if name not in (OBSERVABILITY, TRACES)]
    if not only:
        return [*known.values(), *observers]
    infrastructure = [p.name for p in known.values() if p in (*STORES[shape], OMDB)]
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
    return [*(process for process in known.values() if process.name in chosen), *observers]


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
