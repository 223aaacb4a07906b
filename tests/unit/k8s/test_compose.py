"""The Compose file is the first stage, as far as Compose can be a cluster."""

import json
from pathlib import Path
from typing import Any

import compose_spec
import pytest

from k8s import compose, manifests, secrets
from k8s.environment import Given


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compose")


@pytest.fixture(scope="module")
def given(folder: Path) -> list[dict[str, Any]]:
    (folder / "secrets").mkdir()
    return list(secrets.objects(folder / "secrets"))


@pytest.fixture(scope="module")
def project(folder: Path, given: list[dict[str, Any]]) -> dict[str, Any]:
    return compose.project(manifests.render("early"), given, folder)


def test_compose_knows_every_word_of_it(project: dict[str, Any]) -> None:
    read = compose_spec.PyCompose.from_json(json.dumps(project))
    assert set(read.service_names()) == set(project["services"])
    project["services"]["redis"]["mem_limits"] = "1m"
    with pytest.raises(ValueError, match="mem_limits"):
        compose_spec.PyCompose.from_json(json.dumps(project))
    del project["services"]["redis"]["mem_limits"]


def test_a_container_gets_what_its_pod_gets(project: dict[str, Any], given: list[dict[str, Any]]) -> None:
    overlay = manifests.render("early")
    known = Given([*overlay, *given])
    for workload, pod in manifests.pods(overlay):
        first = pod["containers"][0]
        service = project["services"][workload["metadata"]["name"]]
        environment = {name: value.replace("$$", "$") for name, value in service["environment"].items()}
        assert environment == known.environment(first)
        words = [word.replace("$$", "$") for word in [*service.get("entrypoint", ()), *service["command"]]]
        assert words == known.arguments(first)
        assert service["image"] == first["image"]


def test_every_file_that_is_mounted_is_there(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        for mount in service["volumes"]:
            assert Path(mount["source"]).is_dir(), (name, mount)
    [users] = [m for m in project["services"]["redis"]["volumes"] if m["target"] == "/run/users"]
    assert "user movie_svc on" in (Path(users["source"]) / "users.acl").read_text()


def test_nothing_starts_before_what_it_stands_on(project: dict[str, Any]) -> None:
    services = project["services"]
    migration = services["migrate-rating-svc"]["depends_on"]
    assert migration["kafka"]["condition"] == "service_healthy"
    assert migration["provision"]["condition"] == "service_completed_successfully"
    assert services["rating-worker"]["depends_on"]["migrate-rating-svc"] == {
        "condition": "service_completed_successfully"
    }
    assert services["edge-controller"]["network_mode"] == "service:edge"


def test_stores_are_found_by_the_names_that_their_addresses_have(project: dict[str, Any]) -> None:
    aliases = {
        alias
        for service in project["services"].values()
        for alias in service.get("networks", {}).get("default", {}).get("aliases", ())
    }
    assert {"postgres-rw", "redis", "kafka", "movie-svc", "rating-svc", "ranking-svc", "omdb"} <= aliases
