"""Nodes come and go with the pods of `scale-up`: Karpenter beside a real control plane, with kwok's nodes."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from k8s import manifests
from k8s.cluster import fake_nodes, node_autoscaler
from k8s.cluster.control_plane import Cluster
from tests.support.kinds import NAMESPACE

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1500)]

SERVER, SPARE = "movie-svc", "spare"
WANTED = {f"Deployment/{SERVER}", f"Deployment/{SPARE}", f"ServiceAccount/{SERVER}"}
CORES = "2"
"""Four such pods fill a node."""


def applied() -> list[dict[str, Any]]:
    """A server and the pods that hold place for it, as `scale-up` has them; the server's pods are larger."""
    found = []
    for each in copy.deepcopy(manifests.render("scale-up")):
        name = manifests.name(each)
        if name in WANTED or each["kind"] == "PriorityClass":
            found.append(each)
        if name == f"Deployment/{SERVER}":
            each["spec"]["replicas"] = 9
            [container] = each["spec"]["template"]["spec"]["containers"]
            container["resources"]["requests"]["cpu"] = CORES
    return found


@pytest.fixture
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own with three nodes, one in each zone, and with Karpenter."""
    made = Cluster(tmp_path_factory.mktemp("scaled"))
    try:
        made.up()
        fake_nodes.start(made, per_zone=1)
        node_autoscaler.start(made)
        made.kubectl("create", "namespace", "marquee")
        made.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": applied()}))
        yield made
    finally:
        made.down()


def places(cluster: Cluster, name: str) -> list[str]:
    """The nodes that the ready pods of a workload are on, one for each pod."""
    found = cluster.get("pods", NAMESPACE, f"--selector=app.kubernetes.io/name={name}")["items"]
    return [
        pod["spec"]["nodeName"]
        for pod in found
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    ]


def state(cluster: Cluster) -> str:
    """What there is, and what Karpenter said last: for a test that fails."""
    shown = cluster.kubectl("get", "pods,nodes", "--all-namespaces", "--output=wide")
    return f"{shown}\n{cluster.processes.log('karpenter').read_text()[-3000:]}"


def made_nodes(cluster: Cluster) -> set[str]:
    """The names of the nodes that Karpenter has made."""
    found = cluster.get("nodes", f"--selector={node_autoscaler.OF_POOL}")["items"]
    return {each["metadata"]["name"] for each in found}


def test_nodes_come_and_go_with_pods_and_spare_ones_give_way_first(scaled: Cluster) -> None:
    began = time.monotonic()

    def becomes(condition: Callable[[], bool], what: str, timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s\n{state(scaled)}"
            time.sleep(0.3)
        print(f"{time.monotonic() - began:5.0f} s: {what}", flush=True)

    def run(servers: int, spare: int = 3) -> bool:
        return len(places(scaled, SERVER)) == servers and len(places(scaled, SPARE)) == spare

    def scale(servers: int) -> None:
        scaled.kubectl("scale", f"deployment/{SERVER}", f"--replicas={servers}", NAMESPACE)
        print(f"{time.monotonic() - began:5.0f} s: {servers} servers wanted", flush=True)

    becomes(lambda: run(9), "9 servers and 3 spare pods run")
    assert made_nodes(scaled) == set(), "three nodes are enough"

    scale(12)
    becomes(lambda: len(places(scaled, SERVER)) == 12, "12 servers run")
    assert not set(places(scaled, SERVER)) & made_nodes(scaled), "none of them had to wait for a node"
    becomes(lambda: run(12), "the spare pods run again")
    assert set(places(scaled, SPARE)) <= made_nodes(scaled), "which took nodes that were not there before"

    scale(24)
    becomes(lambda: run(24), f"24 servers run, {SPARE} ones too")
    assert len(made_nodes(scaled)) >= 3, "half of the servers fill three nodes"

    scale(6)
    becomes(lambda: run(6) and not made_nodes(scaled), "nodes that nobody needs are gone")
    assert fake_nodes.ready(scaled) == 3
