"""`components/strimzi`: who may do what in Kafka, and how each service shows who it is.

Each service has one user, with the rights that its own code needs and no more; KEDA has one that sees how far
readers are. Strimzi's user operator makes a certificate for each, in the Secret `kafka-USER`. A local stack
can have the same users: `local.servers.kafka_users`.
"""

from collections.abc import Iterator
from typing import Any, Final

from k8s import workloads
from mesh.services import SERVE, SERVICES, Part, Service
from mesh.tls import host_name
from movie_svc.storing import changes
from ranking_svc import topics as ranking
from rating_svc import topics as rating

Object = dict[str, Any]

PREFIX: Final = "kafka-"
"""Of the Secrets that Strimzi makes, before a user's name."""
AUTHORITY: Final = "kafka-cluster-ca-cert"
"""The Secret with the authority of the brokers: Strimzi names it by the cluster, `kafka`."""
FOLDER: Final = "/run/kafka"
ENVIRONMENT: Final = {
    "MARQUEE_KAFKA_TLS_CERT": f"{FOLDER}/user.crt",
    "MARQUEE_KAFKA_TLS_KEY": f"{FOLDER}/user.key",
    "MARQUEE_KAFKA_TLS_CA": f"{FOLDER}/ca.crt",
}
KEDA: Final = "keda"
_READ: Final = ("Describe", "DescribeConfigs", "Read")
_WRITE: Final = ("Describe", "DescribeConfigs", "Write")
_ALL: Final = "marquee."


def rights() -> dict[str, list[Object]]:
    """What each user may do."""
    return {
        "movie-svc": [
            _may("topic", changes.CHANGED.name, _WRITE),
            # The relay that began last is the only one that can send.
            _may("transactionalId", changes.TRANSACTIONS, ("Describe", "Write")),
        ],
        "rating-svc": [
            # All generations of the log, of which it makes the next and closes the last.
            _may("topic", rating.SUBMITTED, (*_READ, "Write", "Create", "AlterConfigs"), prefix=True),
            _may("topic", rating.CHANGED, _WRITE),
            _may("topic", rating.DEAD_LETTERS, (*_READ, "Write")),
            # What operators do with dead letters its program does: it reads them, and sends them again.
            _may("topic", rating.CHANGED_DEAD_LETTERS, _READ),
            _may("topic", rating.FACTS_DEAD_LETTERS, _READ),
            _may("topic", rating.FACTS, _WRITE),
            _may("group", "rating_svc.", ("Describe", "Read"), prefix=True),
            _may("group", "marquee.dlq.", ("Describe", "Read"), prefix=True),
            # It tells of all topics whether they have their copies.
            _may("topic", _ALL, ("Describe",), prefix=True),
        ],
        "ranking-svc": [
            _may("topic", ranking.RATINGS_CHANGED, _READ),
            _may("topic", ranking.MOVIES_CHANGED, _READ),
            _may("topic", ranking.DEAD_LETTERS.name, _WRITE),
            _may("topic", ranking.MOVIES_DEAD_LETTERS.name, _WRITE),
            _may("group", "ranking_svc.", ("Describe", "Read"), prefix=True),
        ],
        KEDA: [
            _may("topic", _ALL, ("Describe",), prefix=True),
            _may("group", "rating_svc.", ("Describe",), prefix=True),
            _may("group", "ranking_svc.", ("Describe",), prefix=True),
        ],
    }


def users() -> Iterator[Object]:
    """The users, for Strimzi's user operator."""
    for name, acls in rights().items():
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {"name": name, "labels": {"strimzi.io/cluster": "kafka"}},
            "spec": {
                "authentication": {"type": "tls"},
                "authorization": {"type": "simple", "acls": acls},
            },
        }


def clients() -> Iterator[Object]:
    """The patches of what speaks with Kafka: its certificate, as files."""
    for service in SERVICES:
        if Part.KAFKA not in service.needs:
            continue
        yield _patch(service, "batch/v1", "Job", f"migrate-{host_name(service.name)}", "migrate")
        for role in service.roles:
            if Part.KAFKA in role.needs:
                name = workloads.name(service, role)
                yield _patch(service, "apps/v1", "Deployment", name, name)
                if service.public and role.name == SERVE:
                    name = workloads.canary_name(service, role)
                    yield _patch(service, "apps/v1", "Deployment", name, name)


def _may(kind: str, name: str, operations: tuple[str, ...], *, prefix: bool = False) -> Object:
    pattern = "prefix" if prefix else "literal"
    return {
        "resource": {"type": kind, "name": name, "patternType": pattern},
        "operations": sorted(operations),
        "host": "*",
    }


def _patch(service: Service, version: str, kind: str, name: str, container: str) -> Object:
    user = {"key": "user.crt", "path": "user.crt"}, {"key": "user.key", "path": "user.key"}
    sources = [
        {"secret": {"name": PREFIX + host_name(service.name), "items": list(user)}},
        {"secret": {"name": AUTHORITY, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    mount = {"name": "kafka", "mountPath": FOLDER, "readOnly": True}
    pod = {
        "containers": [
            {
                "name": container,
                "env": [{"name": variable, "value": value} for variable, value in ENVIRONMENT.items()],
                "volumeMounts": [mount],
            }
        ],
        "volumes": [{"name": "kafka", "projected": {"defaultMode": 0o440, "sources": sources}}],
    }
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod}},
    }
