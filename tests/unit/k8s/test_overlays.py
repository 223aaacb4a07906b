"""Each stage is made of objects that Kubernetes knows, and that fit together."""

import copy
import functools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest

from k8s import manifests, secrets, stages
from k8s.environment import Given
from k8s.manifests import OVERLAYS
from mesh.services import SERVICES
from mesh.tls import TRUST_DOMAIN
from tests.support.overlays import containers, cores_of, each_overlay, most_pods

KUBERNETES = "1.36"
"""Of the API server that `make test-k8s` builds; whose schemas are checked here."""
IMAGES = {
    *(f"localhost/{name}:dev" for name in ("marquee", "marquee-edge", "marquee-stores")),
    "docker.io/valkey/valkey:9.0",
    "docker.io/jaegertracing/jaeger:2.13.0",
    "docker.io/oliver006/redis_exporter:v1.80.0",
    "docker.io/envoyproxy/ratelimit:3fb70258",
    "registry.k8s.io/pause:3.10",
}


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """The library reads the two megabytes of definitions again for each object."""
    with pytest.MonkeyPatch.context() as patch:
        reader = functools.cache(kubernetes_validate.utils.schema_contents)
        patch.setattr(kubernetes_validate.utils, "schema_contents", reader)
        yield


@each_overlay
def test_every_object_is_as_kubernetes_schemas_say(overlay: str) -> None:
    """Of Kubernetes' own kinds; those of operators are checked with their schemas in `make test-k8s`."""
    for each in filter(manifests.is_built_in, manifests.render(overlay)):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_backups_are_as_kubernetes_schemas_say_and_their_pods_as_policies_want_them() -> None:
    """They are no part of a stage: `early` without them is whole."""
    policies = {each["metadata"]["name"]: each for each in manifests.render("early")}
    [opened] = policies["stores-from-services"]["spec"]["ingress"][0]["from"]
    assert opened["podSelector"]["matchExpressions"][0] == {"key": "marquee/service", "operator": "Exists"}
    jobs = []
    for each in manifests.render("../backups"):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
        if each["kind"] == "CronJob":
            jobs.append(each["metadata"]["name"])
            template = each["spec"]["jobTemplate"]["spec"]["template"]
            assert {"marquee/service", "marquee/job"} <= template["metadata"]["labels"].keys()
            pod = template["spec"]
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            [container] = pod["containers"]
            assert container["image"] in IMAGES
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert jobs == ["backup", "restore"]


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


def test_certificates_are_made_again_before_they_expire_and_when_it_is_asked(tmp_path: Path) -> None:
    def shown(*, renew: bool = False) -> dict[str, str]:
        made = Given(secrets.objects(tmp_path, renew=renew))
        return {name: made.keys("Secret", f"{name}-tls")["tls.crt"] for name in ("edge", "movie-svc")}

    first = shown()
    file = tmp_path / "certificates" / "movie_svc.pem"
    long_ago = time.time() - 11 * 86_400
    os.utime(file, (long_ago, long_ago))
    second = shown()
    assert second["movie-svc"] != first["movie-svc"]
    assert second["edge"] == first["edge"]
    third = shown(renew=True)
    assert all(third[name] != second[name] for name in third)
    assert shown() == third


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
    most = most_pods("scale-up")
    pods, cores = 0, 0.0
    for workload, pod in manifests.pods(objects):
        count = most.get(workload["metadata"]["name"], workload["spec"].get("replicas", 1))
        count += workload["kind"] == "Deployment"  # maxSurge
        pods += count
        cores += count * sum(cores_of(c["resources"]["requests"]["cpu"]) for c in pod["containers"])
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] in ("Cluster", "KafkaNodePool"):
            count = spec.get("instances") or spec["replicas"]
            pods, cores = pods + count, cores + count * cores_of(spec["resources"]["requests"]["cpu"])
        elif each["kind"] == "Pooler":
            pods += spec["instances"]
    assert pods <= int(quota["pods"])
    assert cores <= cores_of(quota["requests.cpu"])


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


def test_the_edge_sends_its_clients_away_before_it_ends() -> None:
    """Envoy breaks off what is open when it is told to end."""
    for overlay in OVERLAYS:
        [(_, pod, envoy)] = [
            found for found in containers(overlay, "marquee-edge") if found[2]["name"] == "envoy"
        ]
        module, option = envoy["lifecycle"]["preStop"]["exec"]["command"][-2:]
        assert module == "edge.drain"
        assert float(option.removeprefix("--seconds=")) + 5 <= pod["terminationGracePeriodSeconds"]


def test_the_command_prints_one_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets.main(["--folder", str(tmp_path), "--namespace", "elsewhere", "--omdb-api-key", "real"])
    made = json.loads(capsys.readouterr().out)
    assert made["kind"] == "List"
    assert {each["metadata"]["namespace"] for each in made["items"]} == {"elsewhere"}
    assert Given(made["items"]).keys("Secret", "omdb") == {"api-key": "real"}
