"""Envoy before PostgreSQL: one port that is always the primary's, and one that is a replica's.

Envoy asks each Patroni over HTTP what its server is. A connection to a server
that is no longer what the port promises is closed, so that its client connects
again. There are two such Envoys, and a client knows both: see `mesh.postgres`.
"""

import json
from collections.abc import Sequence
from typing import IO, Any, Final

from edge import publish
from local.stack.layout import HOST, Stack, StackError, write_private

_INTERVAL_S: Final = 0.5
# On a busy machine, Patroni may need this long for an answer.
_PATIENCE_S: Final = 1.0


def command(stack: Stack, name: str) -> list[str]:
    try:
        program = publish.binary()
    except FileNotFoundError as error:
        raise StackError(str(error)) from None
    config = str(stack.data / f"{name}.json")
    return [
        str(program),
        *("--config-path", config, "--concurrency", "1"),
        *("--disable-hot-restart", "--log-level", "warn"),
    ]


async def prepare(stack: Stack, name: str, _log: IO[bytes]) -> None:
    """Writes the configuration for these ports."""
    members = stack.names("postgres")
    # A port leads to one replica at a time, so that how far it is behind can be measured. One proxy prefers
    # the first, the other the last: whoever is the primary, both replicas are read.
    first = name == stack.names(name.partition(".")[0])[0]
    preferred = members if first else members[::-1]
    ports = {purpose: stack.port(name, purpose) for purpose in ("primary", "replica", "admin")}
    config = {
        "admin": {"address": _address(ports["admin"])},
        "static_resources": {
            "listeners": [_listener(purpose, ports[purpose]) for purpose in ("primary", "replica")],
            "clusters": [
                _cluster(stack, "primary", [members]),
                _cluster(stack, "replica", [[member] for member in preferred]),
            ],
        },
    }
    write_private(stack.data / f"{name}.json", json.dumps(config, indent=1))


def _listener(purpose: str, port: int) -> dict[str, Any]:
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": purpose,
        "cluster": purpose,
        "idle_timeout": "0s",
        "max_connect_attempts": 3,
    }
    chain = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    return {"name": purpose, "address": _address(port), "filter_chains": [chain]}


def _cluster(stack: Stack, purpose: str, priorities: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The servers that Patroni says are that; the first of `priorities` with one that is well gets all."""
    check = {
        "interval": f"{_INTERVAL_S}s",
        "no_traffic_interval": f"{_INTERVAL_S}s",
        "unhealthy_interval": f"{_INTERVAL_S}s",
        "timeout": f"{_PATIENCE_S}s",
        "healthy_threshold": 1,
        # Of no answer at all. An answer that says no counts at once.
        "unhealthy_threshold": 2,
        "http_health_check": {"path": f"/{purpose}"},
    }
    return {
        "name": purpose,
        "type": "STATIC",
        "connect_timeout": f"{_PATIENCE_S}s",
        # No server at all is better than one that is not what was asked for.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "close_connections_on_host_health_failure": True,
        "health_checks": [check],
        "load_assignment": {
            "cluster_name": purpose,
            "endpoints": [
                {"priority": number, "lb_endpoints": [_endpoint(stack, name) for name in names]}
                for number, names in enumerate(priorities)
            ],
        },
    }


def _endpoint(stack: Stack, name: str) -> dict[str, Any]:
    asked = {"port_value": stack.port(name, "rest")}
    return {"endpoint": {"address": _address(stack.port(name, "sql")), "health_check_config": asked}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
