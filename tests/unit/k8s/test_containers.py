"""Each container starts with what its stage says: variables, arguments, files, passwords."""

import copy
import re
from pathlib import Path

import pytest

from edge import render
from k8s import manifests
from k8s.environment import Given, MissingError, references
from k8s.manifests import OVERLAYS, Object
from k8s.shards import SHARDS
from mesh.config import ConfigError, load
from mesh.pages import PagesConfig
from mesh.postgres import PostgresConfig
from mesh.provision import SHARDED, ProvisionConfig, read_passwords
from mesh.services import SERVICES, Part
from rating_svc import shards
from rating_svc.config import worker_group
from tests.support.overlays import MIGRATE, classes, containers, each_overlay, given, program, read_by


@each_overlay
def test_each_process_of_a_service_starts_with_its_variables(
    overlay: str, given_secrets: list[Object]
) -> None:
    environment = given(overlay, given_secrets)
    for name, _, container in containers(overlay, "marquee"):
        if container["args"] == ["mesh.provision"]:
            continue
        service, role = program(container)
        variables = environment.environment(container)
        for cls in classes(service, role):
            try:
                load(cls, variables)
            except ConfigError as error:
                pytest.fail(f"{overlay}: {name}: {error}")
        if Part.PRIMARY in role.needs:
            dsn = load(PostgresConfig, variables).primary
            assert dsn.startswith(f"postgresql://{service.name}:"), name
            assert "$(" not in dsn, name


@each_overlay
def test_no_variable_is_given_that_nothing_reads(overlay: str, given_secrets: list[Object]) -> None:
    environment = given(overlay, given_secrets)
    everywhere = read_by(["mesh", "edge", *(service.name for service in SERVICES)])
    everywhere |= {f"{name}_SHARD{n}" for name in shards.OF_ONE for n in range(1, SHARDS)}
    for image in ("marquee", "marquee-edge"):
        for name, _, container in containers(overlay, image):
            unknown = set(environment.environment(container)) - everywhere - references(container)
            assert unknown == set(), f"{overlay}: {name}"


@each_overlay
def test_the_edge_is_rendered_from_its_arguments_and_files(
    overlay: str, given_secrets: list[Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = given(overlay, given_secrets)
    [(_, pod, container)] = [
        each for each in containers(overlay, "marquee-edge") if each[2]["args"][0] == "edge.render"
    ]
    environment.write_files(pod, container, tmp_path)
    for name, value in environment.environment(container).items():
        monkeypatch.setenv(name, value)
    roots = tuple(mount["mountPath"] for mount in container["volumeMounts"])
    arguments = [
        re.sub(rf"(^|=)({'|'.join(roots)})(?=/)", rf"\1{tmp_path}\2", word)
        for word in environment.arguments(container)[1:]
        if word != "--validate"  # Envoy itself looks in the tests of the edge
    ]
    assert render.main(arguments) == 0
    bootstrap = (tmp_path / "run/envoy/config/envoy.yaml").read_text()
    assert "movie-svc" in bootstrap
    assert "$(" not in bootstrap


@each_overlay
def test_the_program_that_makes_roles_gets_all_passwords(
    overlay: str, given_secrets: list[Object], tmp_path: Path
) -> None:
    environment = given(overlay, given_secrets)
    [(_, pod, container), *of_shards] = [
        each for each in containers(overlay, "marquee") if each[2]["args"] == ["mesh.provision"]
    ]
    environment.write_files(pod, container, tmp_path)
    config = load(ProvisionConfig, environment.environment(container))
    passwords = read_passwords(tmp_path / config.passwords.lstrip("/"))
    for number, (_, pod, container) in enumerate(of_shards, 1):
        folder = tmp_path / str(number)
        environment.write_files(pod, container, folder)
        config = load(ProvisionConfig, environment.environment(container))
        assert f"@postgres-shard-{number}-rw:" in config.primary
        assert config.shard
        mounted = folder / config.passwords.lstrip("/")
        assert read_passwords(mounted, SHARDED) == {name: passwords[name] for name in SHARDED}
        assert {path.name for path in mounted.iterdir()} == set(SHARDED)
    for name, _, service_container in containers(overlay, "marquee"):
        if service_container["args"] == ["mesh.provision"]:
            continue
        service, role = program(service_container)
        if Part.PRIMARY in role.needs:
            dsn = environment.environment(service_container)["MARQUEE_PG_PRIMARY"]
            assert f":{passwords[service.name]}@" in dsn, name


@each_overlay
def test_all_that_pods_refer_to_is_there(overlay: str, given_secrets: list[Object], tmp_path: Path) -> None:
    environment = given(overlay, given_secrets)
    accounts = {o["metadata"]["name"] for o in manifests.render(overlay) if o["kind"] == "ServiceAccount"}
    for number, (workload, pod) in enumerate(manifests.pods(manifests.render(overlay))):
        assert pod.get("serviceAccountName", "default") in {*accounts, "default"}
        claims = workload["spec"].get("volumeClaimTemplates", [])
        volumes = [*pod.get("volumes", ()), *({"name": claim["metadata"]["name"]} for claim in claims)]
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            environment.environment(container)
            environment.write_files({**pod, "volumes": volumes}, container, tmp_path / str(number))


@each_overlay
def test_a_pod_may_take_as_long_to_end_as_its_drain_takes(overlay: str, given_secrets: list[Object]) -> None:
    environment = given(overlay, given_secrets)
    for name, pod, container in containers(overlay, "marquee"):
        if "MARQUEE_DRAIN_WAIT_S" in (variables := environment.environment(container)) and container["args"][
            1:
        ] != ["migrate"]:
            drain = float(variables["MARQUEE_DRAIN_WAIT_S"]) + float(variables["MARQUEE_DRAIN_GRACE_S"])
            assert pod["terminationGracePeriodSeconds"] > drain, name


@pytest.mark.parametrize("overlay", OVERLAYS[1:])
def test_services_go_through_the_poolers_and_what_needs_a_session_past_them(
    overlay: str, given_secrets: list[Object]
) -> None:
    environment = given(overlay, given_secrets)
    for name, _, container in containers(overlay, "marquee"):
        if container["args"] == ["mesh.provision"]:
            continue
        _, role = program(container)
        config = load(PostgresConfig, environment.environment(container))
        assert "@postgres-rw:" in config.own_session, name
        if role is not MIGRATE:
            assert "@postgres-pooler-rw:" in config.primary, name
            assert all("@postgres-pooler-ro:" in replica for replica in config.replicas), name
            assert bool(config.replicas) == (Part.REPLICA in role.needs), name


def test_each_database_of_ratings_is_a_cluster_and_is_reached_as_the_first(
    given_secrets: list[Object],
) -> None:
    objects = manifests.render("scale-up")
    environment = given("scale-up", given_secrets)
    clusters = {each["metadata"]["name"] for each in objects if each["kind"] == "Cluster"}
    assert clusters == {"postgres", *(f"postgres-shard-{n}" for n in range(1, SHARDS))}
    for kind in ("Pooler", "ScheduledBackup"):
        assert {each["spec"]["cluster"]["name"] for each in objects if each["kind"] == kind} == clusters
    seen = 0
    for name, _, container in containers("scale-up", "marquee"):
        if container["args"] == ["mesh.provision"] or not program(container)[0].sharded:
            continue
        seen += 1
        first, *others = shards.configs(environment.environment(container))
        assert len(others) == SHARDS - 1, name
        for number, config in enumerate(others, 1):
            own = f"@postgres-shard-{number}-"
            assert config.primary == first.primary.replace("@postgres-", own), name
            assert config.own_session == first.own_session.replace("@postgres-", own), name
            assert config.replicas == tuple(x.replace("@postgres-", own) for x in first.replicas), name
    assert seen == 5  # three roles, a canary and the migration


def test_workers_are_scaled_by_what_each_database_has_not_stored() -> None:
    [scaled] = [
        each
        for each in manifests.render("scale-up")
        if each["kind"] == "ScaledObject" and each["metadata"]["name"] == "rating-worker"
    ]
    groups = [each["metadata"]["consumerGroup"] for each in scaled["spec"]["triggers"]]
    assert groups == [worker_group(number) for number in range(SHARDS)]
    # What another database has is never committed by this one's group.
    assert all(each["metadata"]["excludePersistentLag"] == "true" for each in scaled["spec"]["triggers"])


def test_what_is_missing_is_said(given_secrets: list[Object]) -> None:
    [(_, _, container)] = [
        each for each in containers("early", "marquee") if each[2]["args"] == ["movie_svc", "serve"]
    ]
    container = copy.deepcopy(container)
    without = [each for each in given_secrets if each["metadata"]["name"] != "marquee-keys"]
    with pytest.raises(MissingError, match="marquee-keys"):
        given("early", without).environment(container)
    container["env"] = [each for each in container["env"] if each["name"] != "MARQUEE_PAGE_TOKEN_KEY"]
    variables = given("early", given_secrets).environment(container)
    service, role = program(container)
    assert PagesConfig in classes(service, role)
    with pytest.raises(ConfigError, match="MARQUEE_PAGE_TOKEN_KEY"):
        load(PagesConfig, variables)


def test_variables_are_put_in_as_kubernetes_does() -> None:
    container = {
        "env": [
            {"name": "A", "value": "one"},
            {"name": "B", "value": "$(A) $(LATER) $$(A)"},
            {"name": "LATER", "value": "x"},
        ],
        "args": ["$(B)", "$(NOBODY)"],
    }
    environment = Given([])
    assert environment.environment(container)["B"] == "one $(LATER) $(A)"
    assert environment.arguments(container) == ["one $(LATER) $(A)", "$(NOBODY)"]
