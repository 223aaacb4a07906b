"""Marquee's workloads on a real API server, controllers and scheduler; their pods are kwok's."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from k8s import workloads
from k8s.cluster.control_plane import Cluster
from k8s.cluster.processes import ClusterError
from mesh.services import SERVICES

BASE = Path(__file__).parents[2] / "k8s" / "base"
WORKLOADS = {"edge", *(workloads.name(service, role) for service in SERVICES for role in service.roles)}

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


def rendered(cluster: Cluster) -> str:
    return cluster.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(BASE))


def becomes(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not become true within {timeout_s} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def applied(cluster: Cluster) -> Cluster:
    """The cluster with the workloads in it, all of them available."""
    cluster.kubectl("create", "namespace", "marquee")
    cluster.apply(rendered(cluster))

    def available() -> bool:
        found = cluster.get("deployments", "--namespace=marquee")["items"]
        return bool(found) and all(
            d["status"].get("availableReplicas") == d["spec"]["replicas"] for d in found
        )

    becomes(available, "all deployments are available")
    return cluster


def test_the_api_server_takes_every_field_and_each_workload_becomes_available(applied: Cluster) -> None:
    found = applied.get("deployments", "--namespace=marquee")["items"]
    assert {deployment["metadata"]["name"] for deployment in found} == WORKLOADS


def test_a_field_that_nobody_knows_is_refused(cluster: Cluster) -> None:
    broken = rendered(cluster).replace("maxUnavailable: 0", "maxUnavailible: 0")
    with pytest.raises(ClusterError, match="maxUnavailible"):
        cluster.apply(broken, "--dry-run=server")


def test_pods_hold_to_the_strictest_standard_for_pods(applied: Cluster) -> None:
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    applied.kubectl("label", "namespace", "marquee", enforce, "--overwrite")
    for name in sorted(WORKLOADS):
        # A pod that the standard forbids would not be made, and the rollout would not end.
        applied.kubectl("rollout", "restart", f"deployment/{name}", "--namespace=marquee")
    for name in sorted(WORKLOADS):
        applied.kubectl(
            "rollout", "status", f"deployment/{name}", "--namespace=marquee", "--timeout=100s", timeout_s=110
        )


def test_a_drained_nodes_pods_go_elsewhere(applied: Cluster) -> None:
    applied.kubectl("scale", "deployment/movie-svc", "--replicas=3", "--namespace=marquee")
    selector = "--selector=app.kubernetes.io/name=movie-svc"

    def nodes() -> list[str]:
        pods = applied.get("pods", "--namespace=marquee", selector)["items"]
        return [pod["spec"].get("nodeName", "") for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    becomes(lambda: len(nodes()) == 3 and all(nodes()), "three pods have a node")
    node = nodes()[0]
    try:
        applied.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s", timeout_s=110
        )
        becomes(lambda: len(nodes()) == 3 and node not in nodes(), "the pods are elsewhere")
    finally:
        applied.kubectl("uncordon", node)
