"""k8s/base/services.yaml, from the table of services and k8s/templates; `k8s.writing` writes it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Final

from k8s import variables
from mesh import services
from mesh.provision import WITH_SCHEMA
from mesh.services import SERVE, SERVICES, Part, Role, Service
from mesh.tls import EDGE, host_name

PAGE: Final = Path(__file__).parent / "base" / "services.yaml"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_HEAD: Final = (
    "# The services' accounts, workloads and policies.\n"
    "# `make manifests` makes this file from mesh/services.py and k8s/templates: change those.\n"
)
_TEMPLATES_OF_ROLE: Final = ("workload", "budget", "egress")
_STORE_PORTS: Final = {Part.PRIMARY: 5432, Part.REPLICA: 5432, Part.REDIS: 6379, Part.KAFKA: 9092}
_OMDB_PORT: Final = 443


def name(service: Service, role: Role) -> str:
    """The name of a role's workload: `movie-svc` for the server, `rating-worker` for another."""
    if role.name == SERVE:
        return host_name(service.name)
    return f"{service.name.removesuffix('_svc')}-{role.name}"


def render() -> str:
    """The whole file."""
    parts = [provision()]
    for service in SERVICES:
        values = {"service": host_name(service.name), "callers": _callers(service)}
        parts.append(_filled("service", values))
        parts.append(_migration(service))
        for role in service.roles:
            parts.extend(_workload(service, role))
    return _HEAD + "---\n".join(parts)


def provision() -> str:
    """The Job that makes roles and schemas."""
    passwords = [
        f"- secret: {{name: {host_name(each)}, items: [{{key: postgres-password, path: {each}}}]}}"
        for each in WITH_SCHEMA
    ]
    values = {"passwords": "\n              ".join(passwords), "primary": variables.PRIMARY}
    return _filled("provision", values)


def _migration(service: Service) -> str:
    values = {
        "package": service.name,
        "service": host_name(service.name),
        "environment": "\n            ".join(variables.of_migration(service)),
    }
    return _filled("migration", values)


def canary_name(service: Service, role: Role) -> str:
    """The name of a role's workload for a release on trial."""
    return f"{name(service, role)}-canary"


def canary(service: Service, role: Role) -> str:
    """A workload for a release on trial: like the role's own, under another name, with no pods at first."""
    values = _values(service, role)
    values |= {"name": canary_name(service, role), "image": "marquee-canary", "replicas": "0"}
    return "---\n".join(_filled(template, values) for template in ("canary", *_TEMPLATES_OF_ROLE))


def _workload(service: Service, role: Role) -> Iterator[str]:
    values = _values(service, role)
    for template in _TEMPLATES_OF_ROLE:
        if template != "budget" or not role.takes_turns:
            yield _filled(template, values)


def _values(service: Service, role: Role) -> dict[str, str]:
    return {
        "name": name(service, role),
        "package": service.name,
        "service": host_name(service.name),
        "role": role.name,
        "purpose": role.purpose,
        "environment": "\n            ".join(variables.of_role(service, role)),
        "cpu_millis": str(role.cpu_millis),
        "memory_mib": str(role.memory_mib),
        "memory_limit_mib": str(role.memory_limit_mib),
        "rules": "\n    ".join(_egress(service, role)),
        "image": "marquee",
        "replicas": "1",
    }


def _callers(service: Service) -> str:
    """Who may call it, by the label `marquee/service`."""
    names = [each.name for each in SERVICES if service in services.called_by(each)]
    return f"[{', '.join([EDGE] * service.public + [host_name(each) for each in names])}]"


def _egress(service: Service, role: Role) -> Iterator[str]:
    for other in services.called_by(service):
        pods = f"{{podSelector: {{matchLabels: {{app.kubernetes.io/name: {host_name(other.name)}}}}}}}"
        yield f"- {{to: [{pods}], ports: [{{protocol: TCP, port: {variables.GRPC_PORT}}}]}}"
    ports = sorted({_STORE_PORTS[part] for part in role.needs if part in _STORE_PORTS})
    if ports:
        stores = "{podSelector: {matchExpressions: [{key: marquee/store, operator: Exists}]}}"
        shown = ", ".join(f"{{protocol: TCP, port: {port}}}" for port in ports)
        yield f"- {{to: [{stores}], ports: [{shown}]}}"
    if Part.OMDB in role.needs:
        yield f"- {{ports: [{{protocol: TCP, port: {_OMDB_PORT}}}]}}"


def _filled(template: str, values: Mapping[str, str]) -> str:
    return Template((_TEMPLATES / f"{template}.yaml").read_text()).substitute(values)
