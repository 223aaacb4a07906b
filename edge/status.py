"""What the edge does at this moment: routes and weights, limits, breakers, outliers, and what it refused.

From Envoy's own admin page and the files that it reads; nothing is kept in between.
"""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge import files, tracing

_STATS: Final = (
    r"^cluster\.[a-z_]+\.(circuit_breakers\.(default|high)\.[a-z_]+_open|outlier_detection\.ejections_active"
    r"|upstream_rq_(total|retry|active|(active|pending)_overflow))$"
    r"|^http\.edge\.(downstream_(cx_active|rq_active|rq_total|rq_5xx)|rds\.edge\.update_(success|rejected|failure))$"
    r"|^http\.(edge|inner)\.adaptive_concurrency.*rq_blocked$"
    r"|^edge\.http_local_rate_limit\.(enforced|ok)$"
    r"|^dynamicmodulescustom\.edge_cache_.*"
)


@dataclass(frozen=True)
class Instance:
    """One instance of a service as Envoy sees it."""

    address: str
    state: str
    """`healthy`, or why it gets no calls: `failed health check`, `ejected as outlier`, …"""
    calls: int
    errors: int


@dataclass(frozen=True)
class Service:
    """One cluster: a service, or its new release on trial."""

    name: str
    instances: Sequence[Instance]
    active: int
    most_active: int
    """How many calls of one answer may be under way before the breaker opens."""
    most_streams: int
    open_breakers: Sequence[str]
    """What they refuse: `calls`, `streams`, `retries`, `connections`, …"""
    ejected: int
    calls: int
    retries: int
    overflowed: int
    """Calls that a breaker refused."""


@dataclass(frozen=True)
class Route:
    """One route to a service."""

    name: str
    to: Mapping[str, int]
    """Weights by cluster."""
    timeout: str
    retries: str
    limit: str


@dataclass(frozen=True)
class EdgeStatus:
    """All of it."""

    state: str
    version: str
    uptime_s: int
    connections: int
    active: int
    total: int
    failed: int
    limited: int
    shed: int
    cache_hits: int
    cache_misses: int
    cache_entries: int
    cache_bytes: int
    routes_updated: int
    routes_refused: int
    services: Sequence[Service]
    routes: Sequence[Route]


def look(admin: str, folder: Path) -> EdgeStatus:
    """Asks the Envoy whose admin page is at `admin` (http://HOST:PORT) and whose files are in `folder`.

    Raises:
        OSError: it does not answer.
    """
    info = _get(admin, "/server_info")
    stats = {
        each["name"]: each["value"]
        for each in _get(admin, f"/stats?format=json&filter={urllib.parse.quote(_STATS)}")["stats"]
        if "name" in each
    }
    return EdgeStatus(
        state=info["state"],
        version=re.sub(r"^[0-9a-f]{40}/([^/]+)/.*", r"\1", info["version"]),
        uptime_s=int(float(info["uptime_current_epoch"].removesuffix("s"))),
        connections=stats.get("http.edge.downstream_cx_active", 0),
        active=stats.get("http.edge.downstream_rq_active", 0),
        total=stats.get("http.edge.downstream_rq_total", 0),
        failed=stats.get("http.edge.downstream_rq_5xx", 0),
        limited=stats.get("edge.http_local_rate_limit.enforced", 0),
        shed=_sum(stats, "rq_blocked"),
        cache_hits=_sum(stats, "edge_cache_hits"),
        cache_misses=_sum(stats, "edge_cache_misses"),
        cache_entries=_sum(stats, "edge_cache_answers"),
        cache_bytes=_sum(stats, "edge_cache_bytes"),
        routes_updated=stats.get("http.edge.rds.edge.update_success", 0),
        routes_refused=stats.get("http.edge.rds.edge.update_rejected", 0)
        + stats.get("http.edge.rds.edge.update_failure", 0),
        services=sorted(
            (_service(each, stats) for each in _clusters(admin) if _is_used(each)),
            key=lambda one: one.name,
        ),
        routes=_routes(folder),
    )


def instances(admin: str) -> list[Instance]:
    """All instances of all services, new releases on trial too.

    Raises:
        OSError: Envoy does not answer.
    """
    return [_instance(each) for cluster in _clusters(admin) for each in cluster.get("host_statuses", [])]


def _clusters(admin: str) -> list[dict[str, Any]]:
    """What Envoy says of the services' clusters; the second hop and who takes spans are none."""
    said: list[dict[str, Any]] = _get(admin, "/clusters?format=json")["cluster_statuses"]
    return [each for each in said if each["name"] not in ("inner", tracing.CLUSTER)]


def _get(admin: str, path: str) -> Any:
    with urllib.request.urlopen(f"{admin}{path}", timeout=5) as answer:  # noqa: S310 - of the loopback
        return json.load(answer)


def _is_used(cluster: Mapping[str, Any]) -> bool:
    """A new release's cluster has no instances while nothing is on trial."""
    return "canary" not in cluster["name"] or bool(cluster.get("host_statuses"))


def _sum(stats: Mapping[str, int], ending: str) -> int:
    return sum(value for name, value in stats.items() if name.endswith(ending))


def _service(said: Mapping[str, Any], stats: Mapping[str, int]) -> Service:
    name = said["name"]
    prefix = f"cluster.{name}."
    most = {
        each.get("priority", "DEFAULT"): each.get("max_requests", 0)
        for each in said.get("circuit_breakers", {}).get("thresholds", [])
    }
    return Service(
        name=name,
        instances=[_instance(each) for each in said.get("host_statuses", [])],
        active=stats.get(f"{prefix}upstream_rq_active", 0),
        most_active=most.get("DEFAULT", 0),
        most_streams=most.get("HIGH", 0),
        open_breakers=[
            words for key, words in _BREAKERS.items() if stats.get(f"{prefix}circuit_breakers.{key}_open")
        ],
        ejected=stats.get(f"{prefix}outlier_detection.ejections_active", 0),
        calls=stats.get(f"{prefix}upstream_rq_total", 0),
        retries=stats.get(f"{prefix}upstream_rq_retry", 0),
        overflowed=sum(
            stats.get(f"{prefix}upstream_rq_{kind}_overflow", 0) for kind in ("active", "pending")
        ),
    )


# By Envoy's priority and kind; streams are of the high priority (edge/routes.py).
_BREAKERS: Final = {
    "default.rq": "calls",
    "default.rq_pending": "waiting calls",
    "default.rq_retry": "retries",
    "default.cx": "connections",
    "default.cx_pool": "connection pools",
    "high.rq": "streams",
    "high.rq_pending": "waiting streams",
    "high.rq_retry": "streams' retries",
    "high.cx": "streams' connections",
    "high.cx_pool": "streams' connection pools",
}

_WHY: Final = {
    "failed_active_health_check": "failed health check",
    "failed_outlier_check": "ejected as outlier",
    "failed_active_degraded_check": "degraded",
    "pending_dynamic_removal": "leaving",
    "pending_active_hc": "not checked yet",
    "excluded_via_immediate_hc_fail": "leaving",
}


def _instance(said: Mapping[str, Any]) -> Instance:
    address = said["address"]["socket_address"]
    numbers = {each["name"]: int(each.get("value", 0)) for each in said["stats"]}
    reasons = [words for key, words in _WHY.items() if said["health_status"].get(key)]
    return Instance(
        address=f"{address['address']}:{address['port_value']}",
        state=", ".join(reasons) or "healthy",
        calls=numbers.get("rq_total", 0),
        errors=numbers.get("rq_error", 0),
    )


def _routes(folder: Path) -> list[Route]:
    """The JSON routes to services, of each name the last: what holds where no special case before it does.

    Popular calls are shown as they are at the second hop.
    """
    found: dict[str, Route] = {}
    for file in ("routes-inner.yaml", "routes.yaml"):
        path = folder / file
        if not path.exists():
            continue
        (configuration,) = files.read_yaml(path)["resources"]
        for route in configuration["virtual_hosts"][0]["routes"]:
            action = route.get("route")
            name = route.get("name", "")
            if action is None or "/v1/" not in name or action.get("cluster") == "inner":
                continue
            metadata = route.get("metadata", {}).get("filter_metadata", {})
            retry = action.get("retry_policy", {})
            tries = f"{retry['num_retries']} × {retry['retry_on']}" if retry else "none"
            found[name] = Route(
                name=name,
                to=_weights(action),
                timeout=action.get("timeout", ""),
                retries=tries,
                limit=next((each["class"] for each in metadata.values() if "class" in each), ""),
            )
    return sorted(found.values(), key=lambda route: route.name)


def _weights(action: Mapping[str, Any]) -> dict[str, int]:
    if "weighted_clusters" in action:
        return {each["name"]: each["weight"] for each in action["weighted_clusters"]["clusters"]}
    return {action.get("cluster", action.get("cluster_header", "")): 100}
