"""The clusters: where the services' instances are, and how the edge talks to them."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge import files, template
from edge.limits import Limits
from edge.settings import EdgeSettings, EdgeTls

_ASSIGNMENT: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def canary_of(cluster: str) -> str:
    """The cluster of a service's new release on trial, as routes know it (`envoy/canary.yaml`)."""
    return f"{cluster}_canary"


CANARY_ENDPOINTS: Final = "endpoints-*_canary_hosts.yaml"


def canary_hosts_of(cluster: str) -> str:
    """The cluster of the new release's own instances."""
    return f"{cluster}_canary_hosts"


def write(
    settings: EdgeSettings, bounds: Limits, out: Path, folder: Path, services: dict[str, str]
) -> list[dict[str, Any]]:
    """Writes the endpoint and TLS files into `out`; returns the clusters.

    `services` has the cluster of each service, `folder` is where Envoy will find the files.

    Raises:
        ValueError: a service has no instances, or an address is none.
    """
    clusters = []
    for service, name in services.items():
        addresses = settings.endpoints.get(name, ())
        if not addresses:
            raise ValueError(f"{name} has no address: give at least one HOST:PORT")
        clusters.append(_cluster(settings, bounds, out, folder, service, name, name, addresses))
        # There always, so that a trial needs no restart of Envoy.
        on_trial = settings.canaries.get(name, ())
        clusters.append(
            _cluster(settings, bounds, out, folder, service, name, canary_hosts_of(name), on_trial)
        )
        names = {"name": canary_of(name), "hosts": canary_hosts_of(name), "stable": name}
        clusters.append(template.load("canary", names))
    if settings.tls:
        for secret in ("edge", "authorities"):
            values = _tls_values(settings.tls)
            files.write_yaml(out / f"tls-{secret}.yaml", template.load("tls", values, part=secret))
    return clusters


def write_endpoints(out: Path, cluster: str, addresses: Sequence[str]) -> None:
    """Writes where a cluster's instances are; a running Envoy takes it up at once."""
    path = out / f"endpoints-{cluster}.yaml"
    resource = {"@type": _ASSIGNMENT, **_assignment(cluster, addresses)}
    files.write_yaml(path, {"resources": [resource]})


def _cluster(
    settings: EdgeSettings,
    bounds: Limits,
    out: Path,
    folder: Path,
    service: str,
    owner: str,
    name: str,
    addresses: Sequence[str],
) -> dict[str, Any]:
    values = {"name": name, "service": service, **bounds.placeholders}
    cluster: dict[str, Any] = template.load("cluster", values)
    if all(_is_ip(address) for address in addresses):
        path = out / f"endpoints-{name}.yaml"
        # Where a new release is may have been said after the last rendering.
        if addresses or not path.exists():
            write_endpoints(out, name, addresses)
        cluster["type"] = "EDS"
        source = {"path_config_source": {"path": str(folder / path.name)}, "resource_api_version": "V3"}
        cluster["eds_cluster_config"] = {"eds_config": source}
    else:
        cluster["type"] = "STRICT_DNS"
        cluster["dns_refresh_rate"] = "2s"
        cluster["load_assignment"] = _assignment(name, addresses)
    if settings.tls:
        names = {"name": owner, "host": owner.replace("_", "-"), "folder": str(folder)}
        cluster["transport_socket"] = template.load("tls", names, part="socket")
    return cluster


def _tls_values(tls: EdgeTls) -> dict[str, str]:
    return {
        "certificate": str(tls.certificate.absolute()),
        "certificate_folder": str(tls.certificate.absolute().parent),
        "key": str(tls.key.absolute()),
        "authority": str(tls.authority.absolute()),
        "authority_folder": str(tls.authority.absolute().parent),
    }


def _assignment(name: str, addresses: Sequence[str]) -> dict[str, Any]:
    return {
        "cluster_name": name,
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
                    for host, port in map(_host_and_port, addresses)
                ]
            }
        ],
    }


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(_host_and_port(address)[0])
    except ValueError:
        return False
    return True
