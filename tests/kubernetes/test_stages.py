"""The three stages on a real API server, its controllers and its scheduler; nodes and pods are kwok's.

What operators would make of their kinds is not made here: that the API server takes each of them, field by
field, is what is seen.
"""

import collections
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8s import manifests, workloads
from k8s.cluster import fake_nodes
from k8s.cluster.control_plane import Cluster
from k8s.cluster.processes import ClusterError
from mesh.services import SERVICES
from tests.support.kinds import NAMESPACE, add_kinds, free_volumes

SCRIPT = Path(__file__).parents[2] / "k8s" / "deploy.sh"
WORKLOADS = {"edge", *(workloads.name(service, role) for service in SERVICES for role in service.roles)}

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]


def becomes(condition: Callable[[], bool], what: str, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not become true within {timeout_s} s"
        time.sleep(0.5)


def pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The pods of a workload that are not on their way out."""
    found = cluster.get("pods", NAMESPACE, f"--selector=app.kubernetes.io/name={name}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def zones(cluster: Cluster, name: str) -> dict[str, int]:
    """How many running pods of a workload each zone has."""
    nodes = (
        pod["spec"].get("nodeName", "") for pod in pods(cluster, name) if pod["status"]["phase"] == "Running"
    )
    return dict(collections.Counter(node.rpartition("-")[0] for node in nodes if node))


def available(cluster: Cluster) -> bool:
    """Whether all Deployments have all their pods."""
    found = cluster.get("deployments", NAMESPACE)["items"]
    return bool(found) and all(
        d["status"].get("availableReplicas", 0) == d["spec"]["replicas"]
        and d["status"].get("observedGeneration") == d["metadata"]["generation"]
        for d in found
    )


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the kinds of the operators, storage, and an empty namespace."""
    fake_nodes.add_storage(cluster, volumes=12)
    add_kinds(cluster)
    cluster.kubectl("create", "namespace", "marquee")
    yield cluster
    cluster.kubectl("delete", "namespace", "marquee", "--timeout=170s", timeout_s=180)


@pytest.fixture(scope="module")
def scale_up(prepared: Cluster) -> Cluster:
    """The cluster with the third stage in it, all pods that Kubernetes itself makes running."""
    prepared.kubectl("delete", "namespace", "marquee", "--timeout=170s", timeout_s=180)
    prepared.kubectl("create", "namespace", "marquee")
    free_volumes(prepared)
    prepared.apply(manifests.text("scale-up"))
    becomes(lambda: available(prepared), "all deployments are available")
    return prepared


@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
def test_the_api_server_takes_every_field_of_every_kind(prepared: Cluster, overlay: str) -> None:
    applied = prepared.apply(manifests.text(overlay), "--dry-run=server").splitlines()
    assert len(applied) == len(manifests.render(overlay))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("maxUnavailable: 0", "maxUnavailible: 0"),
        ("dataDurability:", "durability:"),
        ("poolMode:", "poolsMode:"),
        ("partitions: 12", "partition: 12"),
        ("rotationPolicy:", "rotation:"),
        ("maxReplicaCount:", "maxReplicasCount:"),
        ("parentRefs:", "parents:"),
        ("podMetricsEndpoints:", "endpoints:"),
        ("retentionPolicy:", "retention:"),
        ("patternType:", "pattern:"),
        ("secretTargetRef:", "secretsRef:"),
        ("secretPrefix:", "prefix:"),
    ],
)
def test_a_field_that_nobody_knows_is_refused(prepared: Cluster, right: str, wrong: str) -> None:
    assert right in manifests.text("scale-up")
    with pytest.raises(ClusterError, match=wrong.partition(":")[0]):
        prepared.apply(manifests.text("scale-up").replace(right, wrong), "--dry-run=server")


def test_without_secrets_nothing_is_brought(prepared: Cluster) -> None:
    environment = {
        **os.environ,
        "KUBECTL": str(manifests.kubectl()),
        "KUBECONFIG": str(prepared.kubeconfig),
    }
    done = subprocess.run(
        [str(SCRIPT), "early"], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert "the Secrets are not there" in done.stderr
    assert prepared.get("deployments", NAMESPACE)["items"] == []


def test_the_first_stage_is_brought_step_by_step_and_again(prepared: Cluster, tmp_path: Path) -> None:
    def deploy() -> str:
        done = subprocess.run(
            [str(SCRIPT), "early"],
            env={
                **os.environ,
                "KUBECTL": str(manifests.kubectl()),
                "KUBECONFIG": str(prepared.kubeconfig),
                "MARQUEE_SECRETS": str(tmp_path / "secrets"),
                "MARQUEE_WAIT": "120s",
            },
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "all is there" in deploy()
    found = {each["metadata"]["name"] for each in prepared.get("deployments", NAMESPACE)["items"]}
    assert found == {*WORKLOADS, "omdb"}
    jobs = {
        job["metadata"]["name"]: job["metadata"]["uid"] for job in prepared.get("jobs", NAMESPACE)["items"]
    }
    assert len(jobs) == len(SERVICES) + 1
    # The next release: its jobs are others, and what has not changed goes on.
    running = {pod["metadata"]["uid"] for pod in pods(prepared, "movie-svc")}
    deploy()
    again = {
        job["metadata"]["name"]: job["metadata"]["uid"] for job in prepared.get("jobs", NAMESPACE)["items"]
    }
    assert again.keys() == jobs.keys()
    assert set(again.values()).isdisjoint(jobs.values())
    assert {pod["metadata"]["uid"] for pod in pods(prepared, "movie-svc")} == running


def test_each_server_has_a_pod_in_each_zone(scale_up: Cluster) -> None:
    for name in ("edge", "movie-svc", "ranking-svc", "redis-ha", "sentinel", "rate-limits"):
        becomes(
            lambda name=name: zones(scale_up, name) == dict.fromkeys(fake_nodes.ZONES, 1), f"{name} is spread"
        )


def test_more_pods_are_spread_evenly(scale_up: Cluster) -> None:
    scale_up.kubectl("scale", "deployment/rating-svc", "--replicas=7", NAMESPACE)
    becomes(lambda: sum(zones(scale_up, "rating-svc").values()) == 7, "seven pods run")
    counts = zones(scale_up, "rating-svc").values()
    assert max(counts) - min(counts) <= 1


def test_pods_are_as_important_as_what_they_do(scale_up: Cluster) -> None:
    priorities = {
        name: pods(scale_up, name)[0]["spec"]["priority"]
        for name in ("redis-ha", "movie-svc", "rating-worker", "spare")
    }
    assert sorted(priorities, key=lambda name: priorities[name], reverse=True) == list(priorities)


def test_an_eviction_waits_until_the_one_before_is_made_good(scale_up: Cluster) -> None:
    becomes(lambda: len(pods(scale_up, "movie-svc")) == 3, "three pods are there")
    first, second, _ = (pod["metadata"]["name"] for pod in pods(scale_up, "movie-svc"))
    nodes = [node["metadata"]["name"] for node in scale_up.get("nodes")["items"]]
    scale_up.kubectl("cordon", *nodes)
    try:
        evict(scale_up, first)
        with pytest.raises(ClusterError, match="disruption budget"):
            evict(scale_up, second)
    finally:
        scale_up.kubectl("uncordon", *nodes)
    becomes(lambda: sum(zones(scale_up, "movie-svc").values()) == 3, "the pod is elsewhere")
    evict(scale_up, second)
    becomes(lambda: sum(zones(scale_up, "movie-svc").values()) == 3, "the second one too")


def test_a_drained_nodes_pods_go_elsewhere(scale_up: Cluster) -> None:
    node = pods(scale_up, "edge")[0]["spec"]["nodeName"]
    options = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=150s")
    try:
        scale_up.kubectl("drain", node, *options, timeout_s=160)
        becomes(lambda: zones(scale_up, "edge") == dict.fromkeys(fake_nodes.ZONES, 1), "the edge is whole")
        assert node not in {pod["spec"]["nodeName"] for pod in pods(scale_up, "edge")}
    finally:
        scale_up.kubectl("uncordon", node)


def test_pods_come_as_they_are_needed_and_no_more_than_may_be(scale_up: Cluster) -> None:
    fake_nodes.start_metrics(scale_up)
    busy = json.dumps(
        {"spec": {"template": {"metadata": {"annotations": {"kwok.x-k8s.io/usage-cpu": "140m"}}}}}
    )
    began = time.monotonic()
    # Each pod, also each new one, uses twice what it should: there is no end to it but the autoscaler's own.
    scale_up.kubectl("patch", "deployment", "ranking-svc", NAMESPACE, "--patch", busy)
    [autoscaler] = [
        each["spec"]
        for each in manifests.render("scale-up")
        if manifests.name(each) == "HorizontalPodAutoscaler/ranking-svc"
    ]
    seen: list[tuple[float, int]] = []

    def grown() -> bool:
        running = sum(zones(scale_up, "ranking-svc").values())
        if not seen or seen[-1][1] != running:
            seen.append((time.monotonic() - began, running))
        return running == autoscaler["maxReplicas"]

    becomes(grown, "as many pods run as may be", timeout_s=400)
    print("ranking-svc:", ", ".join(f"{pods} after {at:.0f} s" for at, pods in seen))
    counts = zones(scale_up, "ranking-svc").values()
    assert max(counts) - min(counts) <= 1


def test_a_lost_zones_pods_come_back_in_the_others(scale_up: Cluster) -> None:
    lost, left = fake_nodes.ZONES[-1], set(fake_nodes.ZONES[:-1])
    names = [node["metadata"]["name"] for node in scale_up.get("nodes")["items"]]
    scale_up.kubectl("delete", "node", *(name for name in names if name.startswith(lost)))
    try:
        for name in ("edge", "movie-svc", "redis-ha"):
            becomes(
                lambda name=name: (
                    sum(zones(scale_up, name).values()) == 3 and set(zones(scale_up, name)) == left
                ),
                f"{name} has three pods in two zones",
            )
    finally:
        fake_nodes.start(scale_up)


def evict(cluster: Cluster, pod: str) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "marquee"},
    }
    path = f"/api/v1/namespaces/marquee/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(eviction))
