"""Kubernetes runs what the table of services has."""

from pathlib import Path
from typing import Any

import yaml

from k8s import workloads
from mesh.services import SERVICES, Part, named

ROOT = Path(__file__).resolve().parents[3]
BASE = ROOT / "k8s" / "base"


def base(kind: str) -> list[dict[str, Any]]:
    """All objects of a kind that the base has."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return [
        each
        for resource in kustomization["resources"]
        for each in yaml.safe_load_all((BASE / resource).read_text())
        if each["kind"] == kind
    ]


def containers() -> list[dict[str, Any]]:
    return [c for d in base("Deployment") for c in d["spec"]["template"]["spec"]["containers"]]


def policy(name: str) -> dict[str, Any]:
    """The specification of a network policy."""
    [found] = [each for each in base("NetworkPolicy") if each["metadata"]["name"] == name]
    spec: dict[str, Any] = found["spec"]
    return spec


def test_the_manifests_are_those_of_the_table() -> None:
    assert workloads.PAGE.read_text() == workloads.render(), "run `make manifests`"


def test_each_role_of_the_table_has_its_workload_and_there_is_no_other() -> None:
    roles = {(service.name, role.name) for service in SERVICES for role in service.roles}
    services = [container for container in containers() if container["image"] == "marquee"]
    assert sorted(tuple(container["args"]) for container in services) == sorted(roles)
    others = {d["metadata"]["name"] for d in base("Deployment")} - {c["name"] for c in services}
    assert others == {"edge"}


def test_a_workload_reaches_what_it_needs_and_no_other_store() -> None:
    ports = {Part.PRIMARY: 5432, Part.REPLICA: 5432, Part.REDIS: 6379, Part.KAFKA: 9092, Part.OMDB: 443}
    for service in SERVICES:
        for role in service.roles:
            egress = policy(f"from-{workloads.name(service, role)}")["egress"]
            open_ports = {each["port"] for rule in egress for each in rule["ports"]} - {50051}
            assert open_ports == {ports[part] for part in role.needs}


def test_a_service_is_called_by_those_alone_that_the_table_names() -> None:
    [source] = policy("calls-to-rating-svc")["ingress"][0]["from"]
    assert source["podSelector"]["matchExpressions"][0]["values"] == ["edge", "ranking-svc"]
    [container] = [each for each in containers() if each["name"] == "ranking-consumer"]
    told = {variable["name"] for variable in container["env"] if variable["name"].endswith("_SVC")}
    assert told == {"MARQUEE_MOVIE_SVC", "MARQUEE_RATING_SVC"}
    assert told.isdisjoint({named("ranking_svc").address_setting})
