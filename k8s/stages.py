"""What stages take from the table of services and the code, beside the base; `k8s.writing` writes it.

- `components/canaries`: a second workload of each server that clients reach, for a release on trial
- `components/pooled-postgres`: the way to PostgreSQL through poolers
- `components/certificates`: what cert-manager issues
- `components/monitoring`: the rules of k8s/observability, exporters with the local ones' options
- `components/strimzi`: topics as they must be, users and their rights (`k8s.kafka_users`)
- `components/sharded-ratings`: the databases of ratings beside the first (`k8s.shards`)
- `components/shared-limits`: what the rate-limit service counts
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from edge import limits, shared_limits
from k8s import kafka_users, shards, variables, workloads
from local.servers.observability import EDGE_SERIES, EXPORTER_OPTIONS
from mesh import kafka
from mesh.kafka.retention import Retention
from mesh.provision import REDIS_ADMIN
from mesh.services import PUBLIC, SERVE, SERVICES, Part, Role, Service
from mesh.tls import EDGE, OPERATOR, TRUST_DOMAIN, host_name
from movie_svc.storing import changes
from ranking_svc import topics as ranking_topics
from rating_svc import topics as rating_topics
from rating_svc.config import SubmissionLogConfig

COMPONENTS: Final = Path(__file__).parent / "components"
_RULES: Final = Path(__file__).parent / "observability" / "rules"
_HEAD: Final = "# `make manifests` makes this file: see k8s/stages.py.\n"
_COPIES: Final = 3


def pages() -> dict[Path, str]:
    """Each file with its content."""
    return {
        COMPONENTS / "canaries" / "services.yaml": canaries(),
        COMPONENTS / "canaries" / "edge.yaml": _yaml([canary_addresses()]),
        COMPONENTS / "pooled-postgres" / "addresses.yaml": _yaml(pooled()),
        COMPONENTS / "certificates" / "certificates.yaml": _yaml(certificates()),
        COMPONENTS / "monitoring" / "rules.yaml": _yaml(rules()),
        COMPONENTS / "monitoring" / "edge.yaml": _yaml([edge_monitor()]),
        COMPONENTS / "monitoring" / "redis.yaml": _yaml([redis_exporter()]),
        COMPONENTS / "strimzi" / "topics.yaml": _yaml(topics()),
        COMPONENTS / "strimzi" / "users.yaml": _yaml(kafka_users.users()),
        COMPONENTS / "strimzi" / "clients.yaml": _yaml(kafka_users.clients()),
        COMPONENTS / "sharded-ratings" / "databases.yaml": _yaml(shards.databases()),
        COMPONENTS / "sharded-ratings" / "provision.yaml": _yaml(shards.provisions()),
        COMPONENTS / "sharded-ratings" / "addresses.yaml": _yaml(shards.addresses()),
        COMPONENTS / "sharded-ratings" / "autoscaling.yaml": _yaml([shards.autoscaling()]),
        COMPONENTS / "shared-limits" / "config.yaml": _yaml([counted()]),
    }


def canaries() -> str:
    """The servers once more, under another name and with no pods until a delivery begins."""
    servers = [(service, role) for service in PUBLIC for role in service.roles if role.name == SERVE]
    return _HEAD + "---\n".join(workloads.canary(service, role) for service, role in servers)


def canary_addresses() -> list[dict[str, Any]]:
    """The patch that tells the edge where they are."""
    return [
        {
            "op": "add",
            "path": "/spec/template/spec/initContainers/0/args/-",
            "value": f"--{service.name.removesuffix('_svc')}-canary="
            f"{host_name(service.name)}-canary:{variables.GRPC_PORT}",
        }
        for service in PUBLIC
    ]


def pooled() -> Iterator[dict[str, Any]]:
    """The patches of workloads that use PostgreSQL."""
    for service in SERVICES:
        for role in service.roles:
            if Part.PRIMARY not in role.needs:
                continue
            yield _pooled(service, role, workloads.name(service, role))
            if service.public and role.name == SERVE:
                yield _pooled(service, role, workloads.canary_name(service, role))


def _pooled(service: Service, role: Role, name: str) -> dict[str, Any]:
    password = {"name": host_name(service.name), "key": "postgres-password"}
    values = {
        "MARQUEE_PG_PRIMARY": variables.dsn(service, variables.POOLER),
        "MARQUEE_PG_SESSION": variables.dsn(service, variables.PRIMARY),
    }
    if Part.REPLICA in role.needs:
        values["MARQUEE_PG_REPLICAS"] = variables.dsn(service, variables.READERS)
    env: list[dict[str, Any]] = [
        # Kustomize puts a patch's entries first, and what stands for the password must come before its use.
        {"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": password}},
        *({"name": variable, "value": value} for variable, value in values.items()),
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"name": name, "env": env}]}}},
    }


def certificates() -> Iterator[dict[str, Any]]:
    """The certificate of each part of the mesh, with the names that `mesh.tls` looks at."""
    for name in (EDGE, OPERATOR, *(service.name for service in SERVICES)):
        host = host_name(name)
        yield {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": {"name": f"{host}-tls"},
            "spec": {
                "secretName": f"{host}-tls",
                "commonName": name,
                "uris": [TRUST_DOMAIN + name],
                "dnsNames": [host, "localhost"],
                "usages": ["digital signature", "server auth", "client auth"],
                # Services read it again when it changes: a rotation costs nothing, so it is often.
                "duration": "720h",
                "renewBefore": "480h",
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                "issuerRef": {"name": "marquee", "kind": "Issuer"},
            },
        }


def rules() -> Iterator[dict[str, Any]]:
    """The rules of k8s/observability, as prometheus-operator takes them."""
    for file in sorted(_RULES.glob("*.yaml")):
        yield {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": f"marquee-{file.stem}"},
            "spec": yaml.safe_load(file.read_text()),
        }


def edge_monitor() -> dict[str, Any]:
    """What Prometheus asks Envoy for: the series that it asks a local one for."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "envoy"},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": "edge"}},
            "podMetricsEndpoints": [
                {
                    "port": "stats",
                    "path": "/stats/prometheus",
                    "params": {"filter": [EDGE_SERIES]},
                    "interval": "15s",
                    "relabelings": [
                        {"targetLabel": "job", "replacement": "envoy"},
                        {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"},
                    ],
                }
            ],
        },
    }


def redis_exporter() -> list[dict[str, Any]]:
    """The patch of Redis' servers: beside each, what tells Prometheus of it."""
    password = {"secretKeyRef": {"name": "redis-users", "key": "admin-password"}}
    container = {
        "name": "exporter",
        "image": "docker.io/oliver006/redis_exporter:v1.80.0",
        "args": [
            "-web.listen-address=0.0.0.0:9100",
            "-redis.addr=redis://localhost:6379",
            f"-redis.user={REDIS_ADMIN}",
            *EXPORTER_OPTIONS,
        ],
        "env": [{"name": "REDIS_PASSWORD", "valueFrom": password}, {"name": "GOMEMLIMIT", "value": "32MiB"}],
        "ports": [{"name": "metrics", "containerPort": 9100}],
        "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return [{"op": "add", "path": "/spec/template/spec/containers/-", "value": container}]


def counted() -> dict[str, Any]:
    """The rate-limit service's own configuration."""
    return shared_limits.service_config(limits.Limits.load(limits.DEFAULT_FILE))


def topics() -> Iterator[dict[str, Any]]:
    """The topics, as the services themselves make them where they are missing."""
    config = kafka.KafkaConfig(bootstrap="", replication=_COPIES)
    log, retention = SubmissionLogConfig(), Retention()
    for topic in (
        rating_topics.generation_of_log(rating_topics.SUBMITTED, log.partitions, config, retention),
        *rating_topics.declared(log, config, retention),
        changes.CHANGED,
        ranking_topics.DEAD_LETTERS,
        ranking_topics.MOVIES_DEAD_LETTERS,
    ):
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": "kafka"}},
            "spec": {"partitions": topic.partitions, "replicas": _COPIES, "config": topic.settings()},
        }


def _yaml(objects: Iterable[Any]) -> str:
    dumped = (yaml.dump(each, Dumper=yaml.CSafeDumper, sort_keys=False, width=110) for each in objects)
    return _HEAD + "---\n".join(dumped)
