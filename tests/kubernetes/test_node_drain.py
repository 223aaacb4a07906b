"""A node is drained under load: what runs twice goes on without a lost call."""

from collections.abc import Iterator

import pytest

from k8s.cluster.worker import Worker
from tests.support.node_mesh import SERVERS, NodeMesh, on_a_node
from tests.support.steady import while_it_runs

pytestmark = on_a_node()

# As kube-proxy itself divides the calls, the edge's pods on all nodes get some.
ANY_NODE = '{"spec": {"externalTrafficPolicy": "%s"}}'
DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=280s")


@pytest.fixture
def second(node_mesh: NodeMesh) -> Iterator[Worker]:
    """One more node, with a pod of each server on it and one on the first."""
    node = node_mesh.place.node
    joined = node.join()
    try:
        node_mesh.kubectl("patch", "service", "edge", "--patch", ANY_NODE % "Cluster")
        node_mesh.scale(2, *SERVERS)
        yield joined
    finally:
        node_mesh.scale(1, *SERVERS)
        node_mesh.kubectl("patch", "service", "edge", "--patch", ANY_NODE % "Local")
        node_mesh.cluster.kubectl("drain", joined.name, *DRAIN, timeout_s=290)
        node.leave(joined)


def nodes(mesh: NodeMesh, name: str) -> set[str]:
    """Where the pods of a workload are."""
    return {pod["spec"]["nodeName"] for pod in mesh.pods(name)}


async def test_a_drained_node_costs_no_call(node_mesh: NodeMesh, second: Worker) -> None:
    everywhere = {node_mesh.place.node.first.name, second.name}
    assert {name: nodes(node_mesh, name) for name in SERVERS} == dict.fromkeys(SERVERS, everywhere)

    def drain() -> None:
        node_mesh.cluster.kubectl("drain", second.name, *DRAIN, timeout_s=290)
        for name in SERVERS:
            node_mesh.becomes(lambda name=name: node_mesh.settled(name, 2), f"{name} has two pods again")
            assert second.name not in nodes(node_mesh, name)

    load = node_mesh.load()
    async with load.running():
        mark = await while_it_runs(load, drain)
        await load.more(30)
        lost = load.told("a drained node", mark)
    assert lost == []
    assert await load.differing() == {}
    node_mesh.cluster.kubectl("uncordon", second.name)
