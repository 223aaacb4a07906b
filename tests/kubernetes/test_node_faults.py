"""What clients see when a process of the mesh is killed on a real node, and that it comes back by itself."""

from collections.abc import Iterator

import pytest

from tests.support.node_mesh import BEHIND, SERVERS, NodeMesh, is_ready, on_a_node
from tests.support.steady import READS, WRITES, while_it_runs

pytestmark = on_a_node()


# What calls may fail with when a process is killed, by kind of call; all that is not here is answered. A
# server has a second pod; a store has none, and what needs it is refused until it is back.
EDGE_GONE = ("ConnectError", "ReadError", "WriteError", "RemoteProtocolError", "UNAVAILABLE")
MAY_FAIL: dict[str, dict[str, tuple[str, ...]]] = {
    # Who was connected to it, and who is sent there before the node has heard.
    "edge": dict.fromkeys((*READS, *WRITES), EDGE_GONE),
    # The write that was under way: nobody but its author knows whether it may be repeated.
    "rating-svc": {"rate": ("503 SERVICE_UNAVAILABLE",)},
    "kafka": {"rate": ("503 QUEUE_UNAVAILABLE", "504 DEADLINE_EXCEEDED")},
    # What is in no memory: after Redis was killed too, that is many movies.
    "postgres": dict.fromkeys(("movie", "own rating", "rate"), ("503 DATABASE_UNAVAILABLE",)),
}


@pytest.fixture(scope="module")
def pairs(node_mesh: NodeMesh) -> Iterator[NodeMesh]:
    """The mesh with two pods of each server."""
    node_mesh.scale(2, *SERVERS)
    yield node_mesh
    node_mesh.scale(1, *SERVERS)


def kill(mesh: NodeMesh, name: str, container: str) -> None:
    """Kills a container of one pod, and waits until the pod is ready again."""
    pod = mesh.pods(name)[0]
    own = pod["metadata"]["name"]

    def restarts() -> int:
        found = mesh.get("pod", own)["status"]["containerStatuses"]
        return int(next(each["restartCount"] for each in found if each["name"] == container))

    before = restarts()
    mesh.kill(pod, container)
    took = mesh.becomes(lambda: restarts() > before, f"{own} was started again")
    took += mesh.becomes(lambda: is_ready(mesh.get("pod", own)), f"{own} is ready again")
    print(f"{own}: ready again {took:.1f} s after SIGKILL", flush=True)


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("edge", "envoy"),
        ("edge", "controller"),
        *((name, name) for name in (*SERVERS[1:], *BEHIND, "redis", "postgres", "kafka")),
    ],
)
async def test_a_killed_process_comes_back(pairs: NodeMesh, name: str, container: str) -> None:
    load = pairs.load()
    async with load.running():
        mark = await while_it_runs(load, lambda: kill(pairs, name, container))
        await load.more(30, without_loss=True)
        lost = load.told(f"SIGKILL of {name}", mark)
    allowed = MAY_FAIL.get(name, {}) if container != "controller" else {}
    assert [each for each in lost if not each.why.startswith(allowed.get(each.kind, ()))] == []
    assert await load.differing() == {}


def test_nothing_that_was_acknowledged_is_lost_or_counted_twice(pairs: NodeMesh) -> None:
    assert pairs.differing() == 0
