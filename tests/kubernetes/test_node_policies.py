"""Network policies that a real node enforces: strangers reach no server, and the mesh works."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from k8s.cluster import policies
from k8s.cluster.processes import ClusterError
from tests.support.node_mesh import NodeMesh, on_a_node
from tests.support.steady import while_it_runs

pytestmark = on_a_node(also_missing=policies.missing())

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"
TARGETS = [("rating-svc.marquee", 50051), ("postgres-rw.marquee", 5432), ("kafka.marquee", 9092)]


def stranger(namespace: str) -> dict[str, object]:
    """A pod that can do what a service's can, without the label of any."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "stranger",
                    "image": "localhost/marquee:dev",
                    "imagePullPolicy": "Never",
                    "args": ["http.server", "8000", "--directory", "/opt/marquee/lib"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


@pytest.fixture
def strangers(node_mesh: NodeMesh) -> Iterator[tuple[str, ...]]:
    """A pod in the mesh's own namespace, and one in another."""
    spaces = ("marquee", "default")
    try:
        for space in spaces:
            node_mesh.cluster.apply(json.dumps(stranger(space)))
        for space in spaces:
            own = f"--namespace={space}"
            node_mesh.cluster.kubectl("wait", "--for=condition=Ready", "pod/stranger", own, "--timeout=50s")
        yield spaces
    finally:
        for space in spaces:
            left = (f"--namespace={space}", "--ignore-not-found")
            node_mesh.cluster.kubectl("delete", "pod", "stranger", *left)


@contextlib.contextmanager
def enforced(mesh: NodeMesh) -> Iterator[None]:
    policies.enforce(mesh.place.node)
    try:
        yield
    finally:
        policies.stop(mesh.place.node)


def reaches(mesh: NodeMesh, space: str, pod: str, host: str, port: int) -> bool:
    """Whether a pod gets a connection there."""
    words = ("exec", f"--namespace={space}", pod, "--", "python", "-c", CONNECT, host, str(port))
    try:
        mesh.cluster.kubectl(*words)
    except ClusterError as error:
        if "TimeoutError" in str(error) or "ConnectionRefusedError" in str(error):
            return False
        raise
    return True


async def test_strangers_reach_nobody_and_the_mesh_works(
    node_mesh: NodeMesh, strangers: tuple[str, ...]
) -> None:
    def seen() -> dict[tuple[str, str], bool]:
        return {
            (space, host): reaches(node_mesh, space, "stranger", host, port)
            for space in strangers
            for host, port in TARGETS
        }

    node_mesh.becomes(lambda: all(seen().values()), "everybody reaches all again")
    with enforced(node_mesh):
        node_mesh.becomes(lambda: not any(seen().values()), "strangers reach nobody")
        # The edge has no business with a store, and a service none with another's pods that it doesn't call.
        assert not reaches(node_mesh, "marquee", "deployment/edge", "postgres-rw", 5432)
        assert not reaches(node_mesh, "marquee", "deployment/movie-svc", "rating-svc", 50051)
        assert reaches(node_mesh, "marquee", "deployment/edge", "rating-svc", 50051)
        load = node_mesh.load()
        async with load.running():
            # New pods have new addresses: those of the release before are let in no more.
            mark = await while_it_runs(load, lambda: node_mesh.release("rating-svc", "enforced"))
            await load.more(30)
            lost = load.told("a release under enforced policies", mark)
        assert lost == []
        assert await load.differing() == {}
        assert node_mesh.differing() == 0
    node_mesh.becomes(lambda: all(seen().values()), "everybody reaches all again")
