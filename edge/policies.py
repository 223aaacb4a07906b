"""What the edge knows of each RPC beyond its contract: `envoy/routes.yaml`, compared with the contract.

The table gives each public RPC a class, and each class its time-out, limit and cache.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge import deprecation, template
from edge.contract import Method
from edge.division import Trial
from edge.trials import Trials
from mesh import services

NOTHING_ON_TRIAL: Final = Trials()


def load_table() -> dict[str, Any]:
    """Reads `envoy/routes.yaml`."""
    table: dict[str, Any] = template.load("routes")
    return table


@dataclass(frozen=True)
class Policy:
    """What the edge knows of one RPC beyond its contract."""

    method: Method
    cluster: str
    token: str
    settings: Mapping[str, Any]
    """Of its class."""
    deprecated: Mapping[str, Any] | None
    """Since when and until when, if it will end."""
    trial: Trial


def clusters(table: Mapping[str, Any]) -> dict[str, str]:
    """The cluster of each public gRPC service, by its full name: it is called as the service that answers it.

    Raises:
        ValueError: `envoy/routes.yaml` and the table of services don't speak of the same ones.
    """
    found = {name: _cluster(name) for name in table["services"]}
    public = {service.name for service in services.PUBLIC}
    if missing := public - set(found.values()):
        raise ValueError(f"envoy/routes.yaml has no RPC of {', '.join(sorted(missing))}: give each its class")
    if internal := set(found.values()) - public:
        raise ValueError(f"{', '.join(sorted(internal))} is not public in mesh/services.py")
    return found


def check(methods: Iterable[Method], table: Mapping[str, Any]) -> None:
    """Refuses a table that does not fit the contract.

    Raises:
        ValueError: a public RPC has no class in `envoy/routes.yaml`, or a class there has no RPC.
    """
    of(methods, table)


def of(
    methods: Iterable[Method], table: Mapping[str, Any], trials: Trials = NOTHING_ON_TRIAL
) -> list[Policy]:
    """The policy of each public RPC, in the contract's order.

    Raises:
        ValueError: a public RPC has no class in `envoy/routes.yaml`, or a class there has no RPC.
    """
    known = {
        (service, name): (entry, kind)
        for service, entry in table["services"].items()
        for name, kind in entry["methods"].items()
    }
    methods, ending = list(methods), table.get("deprecated") or {}
    deprecation.check(methods, ending)
    found = []
    for method in methods:
        try:
            entry, kind = known.pop((method.service, method.name))
        except KeyError:
            raise ValueError(
                f"{method.service}.{method.name} is public but envoy/routes.yaml gives it no class"
            ) from None
        ends = ending.get(method.full_name)
        cluster = _cluster(method.service)
        trial = _trial(method, cluster, table, trials)
        found.append(Policy(method, cluster, entry["token"], table["classes"][kind], ends, trial))
    if known:
        names = ", ".join(f"{service}.{name}" for service, name in known)
        raise ValueError(f"envoy/routes.yaml speaks of what no public service has: {names}")
    return found


def _trial(method: Method, cluster: str, table: Mapping[str, Any], trials: Trials) -> Trial:
    canary = trials.canaries.get(cluster)
    for name, rpcs in table["experiments"].items():
        if name in trials.experiments and method.full_name in rpcs:
            return Trial(cluster, canary, trials.experiments[name], name)
    return Trial(cluster, canary)


def _cluster(grpc_service: str) -> str:
    try:
        return services.owner(grpc_service).name
    except KeyError as error:
        raise ValueError(error.args[0]) from None
