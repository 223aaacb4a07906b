"""`components/sharded-ratings`: the databases of ratings beside the first, and the way to them.

Each is a CloudNativePG cluster like the first one, with its poolers and its backups: made from the files of
`components/cloudnative-pg`. Its roles are made by a Job of its own.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from k8s import variables, workloads
from mesh.provision import SHARDED
from mesh.services import SERVE, SERVICES, Part, Service
from mesh.tls import host_name
from rating_svc.config import worker_group

Object = dict[str, Any]

SHARDS: Final = 2
"""How many there are in the stage that has several."""
_FIRST: Final = Path(__file__).parent / "components" / "cloudnative-pg"


def databases() -> Iterator[Object]:
    """The clusters, poolers and backups; the bucket is that of the first one."""
    for number in range(1, SHARDS):
        for file in ("postgres.yaml", "poolers.yaml", "backups.yaml"):
            for made in yaml.safe_load_all((_FIRST / file).read_text()):
                if made["kind"] != "ObjectStore":
                    yield _of_shard(made, number)


def _of_shard(made: Object, number: int) -> Object:
    made["metadata"]["name"] = _renamed(made["metadata"]["name"], number)
    if "cluster" in made["spec"]:
        made["spec"]["cluster"]["name"] = _renamed(made["spec"]["cluster"]["name"], number)
    return made


def _renamed(name: str, number: int) -> str:
    return f"postgres-shard-{number}{name.removeprefix('postgres')}"


def provisions() -> Iterator[Object]:
    """The Jobs that make roles and schemas in them."""
    job = yaml.safe_load(workloads.provision())
    for number in range(1, SHARDS):
        made = copy.deepcopy(job)
        made["metadata"]["name"] = f"provision-shard-{number}"
        pod = made["spec"]["template"]["spec"]
        for each in pod["containers"][0]["env"]:
            if "value" in each:
                each["value"] = each["value"].replace(variables.PRIMARY, _address(number))
        pod["containers"][0]["env"].append({"name": "MARQUEE_PROVISION_SHARD", "value": "true"})
        (passwords,) = [each["projected"] for each in pod["volumes"] if "projected" in each]
        passwords["sources"] = [
            each for each in passwords["sources"] if each["secret"]["items"][0]["path"] in SHARDED
        ]
        yield made


def addresses() -> Iterator[Object]:
    """The patches of what uses them: through the poolers, and migrations straight."""
    for service in SERVICES:
        if not service.sharded:
            continue
        yield _patch("batch/v1", "Job", f"migrate-{host_name(service.name)}", "migrate", _straight(service))
        for role in service.roles:
            if Part.PRIMARY in role.needs:
                values = _pooled(service, replicas=Part.REPLICA in role.needs)
                name = workloads.name(service, role)
                yield _patch("apps/v1", "Deployment", name, name, values)
                if service.public and role.name == SERVE:
                    name = workloads.canary_name(service, role)
                    yield _patch("apps/v1", "Deployment", name, name, values)


def autoscaling() -> Object:
    """The patch of the workers' autoscaler: the readers of each database are a group of their own.

    Each group is given all partitions and stores its own; what others store is committed by nobody, or was
    long ago, and must not count: its offset never moves.
    """
    groups = [worker_group(number) for number in range(SHARDS)]
    (own,) = [
        each
        for each in yaml.safe_load_all((_FIRST.parent / "autoscaling" / "workers.yaml").read_text())
        if each["metadata"]["name"] == "rating-worker"
    ]
    (trigger,) = own["spec"]["triggers"]
    common = trigger["metadata"] | {"excludePersistentLag": "true"}
    triggers = [trigger | {"metadata": common | {"consumerGroup": group}} for group in groups]
    return {
        "apiVersion": own["apiVersion"],
        "kind": own["kind"],
        "metadata": {"name": own["metadata"]["name"]},
        "spec": {"triggers": triggers},
    }


def _address(number: int) -> str:
    return _renamed(variables.PRIMARY, number)


def _straight(service: Service) -> dict[str, str]:
    own = {
        f"MARQUEE_PG_PRIMARY_SHARD{number}": variables.dsn(service, _address(number))
        for number in range(1, SHARDS)
    }
    return {"MARQUEE_RATING_SHARDS": str(SHARDS)} | own


def _pooled(service: Service, *, replicas: bool) -> dict[str, str]:
    values = {"MARQUEE_RATING_SHARDS": str(SHARDS)}
    for number in range(1, SHARDS):
        pooler = _renamed(variables.POOLER, number)
        values[f"MARQUEE_PG_PRIMARY_SHARD{number}"] = variables.dsn(service, pooler)
        values[f"MARQUEE_PG_SESSION_SHARD{number}"] = variables.dsn(service, _address(number))
        if replicas:
            readers = _renamed(variables.READERS, number)
            values[f"MARQUEE_PG_REPLICAS_SHARD{number}"] = variables.dsn(service, readers)
    return values


def _patch(version: str, kind: str, name: str, container: str, values: dict[str, str]) -> Object:
    service = next(each for each in SERVICES if each.sharded)
    password = {"name": host_name(service.name), "key": "postgres-password"}
    env: list[Object] = [
        # Kustomize puts a patch's entries first, and what stands for the password must come before its use.
        {"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": password}},
        *({"name": variable, "value": value} for variable, value in values.items()),
    ]
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"name": container, "env": env}]}}},
    }
