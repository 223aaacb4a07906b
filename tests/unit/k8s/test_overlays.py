"""Each stage is made of objects that Kubernetes knows, and each container starts with what its stage says."""

import copy
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from edge import render
from k8s import manifests, secrets, stages
from k8s.environment import Given, MissingError, references
from k8s.manifests import OVERLAYS, Object
from mesh.config import ConfigError, load, settings_of
from mesh.kafka import KafkaConfig
from mesh.pages import PagesConfig
from mesh.postgres import PostgresConfig
from mesh.provision import ProvisionConfig, read_passwords
from mesh.redisdb import RedisConfig
from mesh.services import SERVE, SERVICES, Part, Role, Service, named
from mesh.tls import TRUST_DOMAIN
from scripts.configuration import concerns

KUBERNETES = "1.36"
"""Of the API server that `make test-k8s` builds; whose schemas are checked here."""
IMAGES = {
    *(f"localhost/{name}:dev" for name in ("marquee", "marquee-edge", "marquee-stores")),
    "docker.io/valkey/valkey:9.0",
    "docker.io/envoyproxy/ratelimit:3fb70258",
    "registry.k8s.io/pause:3.10",
}
MIGRATE = Role("migrate", "", needs=(Part.PRIMARY, Part.KAFKA))

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """The library reads the two megabytes of definitions again for each object."""
    with pytest.MonkeyPatch.context() as patch:
        reader = functools.cache(kubernetes_validate.utils.schema_contents)
        patch.setattr(kubernetes_validate.utils, "schema_contents", reader)
        yield


@pytest.fixture(scope="module")
def given_secrets(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return list(secrets.objects(tmp_path_factory.mktemp("secrets")))


def given(overlay: str, given_secrets: list[Object]) -> Given:
    return Given([*manifests.render(overlay), *given_secrets])


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
    return {
        setting.env for package in packages for cls in concerns(package) for setting, _ in settings_of(cls)
    }


@each_overlay
def test_every_object_is_as_kubernetes_schemas_say(overlay: str) -> None:
    """Of Kubernetes' own kinds; those of operators are held against their schemas in `make test-k8s`."""
    for each in filter(manifests.is_built_in, manifests.render(overlay)):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_a_field_that_is_not_in_the_schema_is_found() -> None:
    deployment = copy.deepcopy(next(o for o in manifests.render("early") if o["kind"] == "Deployment"))
    deployment["spec"]["template"]["spec"]["containers"][0]["volumemounts"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


def test_the_secrets_are_as_kubernetes_schemas_say_and_the_same_each_time(tmp_path: Path) -> None:
    made = list(secrets.objects(tmp_path))
    for each in made:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    assert list(secrets.objects(tmp_path)) == made
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*key*") if path.suffix != ".json"} <= {0}


@each_overlay
def test_each_role_and_each_migration_of_the_table_is_there(overlay: str) -> None:
    there = {tuple(container["args"]) for _, _, container in containers(overlay, "marquee")}
    expected = {(service.name, role.name) for service in SERVICES for role in service.roles}
    expected |= {(service.name, "migrate") for service in SERVICES} | {("mesh.provision",)}
    assert expected <= there
    assert {
        where
        for _, pod in manifests.pods(manifests.render(overlay))
        for where in (c["image"] for c in pod["containers"])
    } <= IMAGES


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
    [(_, pod, container)] = [
        each for each in containers(overlay, "marquee") if each[2]["args"] == ["mesh.provision"]
    ]
    environment.write_files(pod, container, tmp_path)
    config = load(ProvisionConfig, environment.environment(container))
    passwords = read_passwords(tmp_path / config.passwords.lstrip("/"))
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
def test_pods_get_no_token_and_hold_to_the_restricted_standard(overlay: str) -> None:
    for workload, pod in manifests.pods(manifests.render(overlay)):
        name = manifests.name(workload)
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert set(container["resources"]) == {"requests", "limits"}, name


@each_overlay
def test_a_pod_may_take_as_long_to_end_as_its_drain_takes(overlay: str, given_secrets: list[Object]) -> None:
    environment = given(overlay, given_secrets)
    for name, pod, container in containers(overlay, "marquee"):
        if "MARQUEE_DRAIN_WAIT_S" in (variables := environment.environment(container)) and container["args"][
            1:
        ] != ["migrate"]:
            drain = float(variables["MARQUEE_DRAIN_WAIT_S"]) + float(variables["MARQUEE_DRAIN_GRACE_S"])
            assert pod["terminationGracePeriodSeconds"] > drain, name


@each_overlay
def test_selectors_of_services_policies_and_budgets_find_pods(overlay: str) -> None:
    labels = list(manifests.labels_of_pods(manifests.render(overlay)))
    for each in manifests.render(overlay):
        selector: dict[str, str] = {}
        if each["kind"] == "Service":
            selector = each["spec"].get("selector", {})
        elif each["kind"] == "PodDisruptionBudget":
            selector = each["spec"]["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            selector = each["spec"]["podSelector"].get("matchLabels", {})
        assert any(selector.items() <= own.items() for own in labels), manifests.name(each)


@each_overlay
def test_what_scales_a_workload_is_alone_in_saying_how_many_pods_it_has(overlay: str) -> None:
    workloads_by_name = {w["metadata"]["name"]: w for w, _ in manifests.pods(manifests.render(overlay))}
    scaled = [
        each["spec"]["scaleTargetRef"]["name"]
        for each in manifests.render(overlay)
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert len(scaled) == len(set(scaled)), "two autoscalers of one workload work against each other"
    for name in scaled:
        assert "replicas" not in workloads_by_name[name]["spec"], name


def test_all_autoscalers_at_their_end_fit_into_the_quota() -> None:
    """With a rollout of the largest under way, and the stores that operators make."""
    objects = manifests.render("scale-up")
    [quota] = [each["spec"]["hard"] for each in objects if each["kind"] == "ResourceQuota"]
    most = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("maxReplicas")
        or each["spec"]["maxReplicaCount"]
        for each in objects
        if each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    }
    pods, cores = 0, 0.0
    for workload, pod in manifests.pods(objects):
        count = most.get(workload["metadata"]["name"], workload["spec"].get("replicas", 1))
        count += workload["kind"] == "Deployment"  # maxSurge
        pods += count
        cores += count * sum(_cores(c["resources"]["requests"]["cpu"]) for c in pod["containers"])
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] in ("Cluster", "KafkaNodePool"):
            count = spec.get("instances") or spec["replicas"]
            pods, cores = pods + count, cores + count * _cores(spec["resources"]["requests"]["cpu"])
        elif each["kind"] == "Pooler":
            pods += spec["instances"]
    assert pods <= int(quota["pods"])
    assert cores <= _cores(quota["requests.cpu"])


def _cores(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


@pytest.mark.parametrize("overlay", OVERLAYS[1:])
def test_each_certificate_that_a_pod_shows_is_issued_with_its_name(overlay: str) -> None:
    issued = {
        each["spec"]["secretName"]: each["spec"]
        for each in manifests.render(overlay)
        if each["kind"] == "Certificate"
    }
    shown = {
        (
            volume["secret"]["secretName"],
            workload["spec"]["template"]["metadata"]["labels"]["marquee/service"],
        )
        for workload, pod in manifests.pods(manifests.render(overlay))
        for volume in pod.get("volumes", ())
        if volume["name"] == "tls"
    }
    assert len(shown) == len(SERVICES) + 1
    for secret, label in shown:
        assert issued[secret]["dnsNames"] == [label, "localhost"]
        assert issued[secret]["uris"] == [f"{TRUST_DOMAIN}{label.replace('-', '_')}"]


def test_what_stages_take_from_the_code_is_as_the_code_says() -> None:
    for path, content in stages.pages().items():
        assert path.read_text() == content, f"{path}: run `make manifests`"


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


def test_the_command_prints_one_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets.main(["--folder", str(tmp_path), "--namespace", "elsewhere", "--omdb-api-key", "real"])
    made = json.loads(capsys.readouterr().out)
    assert made["kind"] == "List"
    assert {each["metadata"]["namespace"] for each in made["items"]} == {"elsewhere"}
    assert Given(made["items"]).keys("Secret", "omdb") == {"api-key": "real"}
