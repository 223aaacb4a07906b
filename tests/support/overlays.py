"""The stages as Kubernetes would get them, and the containers in them."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest

from k8s import manifests
from k8s.environment import Given
from k8s.manifests import OVERLAYS, Object
from mesh.config import settings_of
from mesh.kafka import KafkaConfig
from mesh.pages import PagesConfig
from mesh.postgres import PostgresConfig
from mesh.provision import ProvisionConfig
from mesh.redisdb import RedisConfig
from mesh.services import SERVE, Part, Role, Service, named
from scripts.configuration import concerns

MIGRATE = Role("migrate", "", needs=(Part.PRIMARY, Part.KAFKA))

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def given(overlay: str, given_secrets: list[Object]) -> Given:
    """All that a stage's containers may refer to."""
    return Given([*manifests.render(overlay), *given_secrets, *_of_strimzi(overlay)])


def _of_strimzi(overlay: str) -> Iterator[Object]:
    """The Secrets that Strimzi makes for Kafka and for its users, with their keys."""
    for each in manifests.render(overlay):
        name = each["metadata"]["name"]
        if each["kind"] == "Kafka":
            yield _secret(f"{name}-cluster-ca-cert", "ca.crt", "ca.p12", "ca.password")
        elif each["kind"] == "KafkaUser":
            [kafka] = [kafka for kafka in manifests.render(overlay) if kafka["kind"] == "Kafka"]
            prefix = kafka["spec"]["entityOperator"]["userOperator"]["secretPrefix"]
            yield _secret(prefix + name, "ca.crt", "user.crt", "user.key", "user.p12", "user.password")


def _secret(name: str, *keys: str) -> Object:
    data = dict.fromkeys(keys, base64.b64encode(b"made by Strimzi").decode())
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


def most_pods(overlay: str) -> dict[str, int]:
    """Of each workload that is scaled, how many pods it may have."""
    return {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("maxReplicas")
        or each["spec"]["maxReplicaCount"]
        for each in manifests.render(overlay)
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    }


def cores_of(text: str) -> float:
    """Reads an amount of CPU as Kubernetes writes it: `250m`, `2`."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def containers(overlay: str, image: str) -> Iterator[tuple[str, Object, Object]]:
    """Name, pod and container of all that run an image."""
    for workload, pod in manifests.pods(manifests.render(overlay)):
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            if re.sub(r".*/|:.*", "", container["image"]) == image:
                yield f"{manifests.name(workload)} {container['name']}", pod, container


def program(container: Object) -> tuple[Service, Role]:
    """What a container of the services' image runs."""
    package, command = container["args"]
    service = named(package)
    return service, next((role for role in service.roles if role.name == command), MIGRATE)


def classes(service: Service, role: Role) -> list[type[Any]]:
    """The configuration that a role reads. Which it needs not follows from its needs."""
    left_out: set[type] = {ProvisionConfig}
    if Part.PRIMARY not in role.needs:
        left_out.add(PostgresConfig)
    if Part.REDIS not in role.needs:
        left_out.add(RedisConfig)
    if Part.KAFKA not in role.needs:
        left_out.add(KafkaConfig)
    if role.name != SERVE:
        left_out.add(PagesConfig)
    packages = ["mesh", service.name] if role is not MIGRATE else ["mesh"]
    return [each for package in packages for each in concerns(package) if each not in left_out]


def read_by(packages: list[str]) -> set[str]:
    """The variables that the configuration of these packages reads."""
    return {
        setting.env for package in packages for cls in concerns(package) for setting, _ in settings_of(cls)
    }
