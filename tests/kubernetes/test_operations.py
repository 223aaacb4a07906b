"""docs/operations/stages.md is followed to the letter: from an empty cluster to the last stage.

The API server and its controllers are real; nodes are kwok's, and what operators would do is played.
"""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8s import manifests
from k8s.cluster import fake_nodes
from k8s.cluster.control_plane import Cluster
from k8s.cluster.processes import ClusterError
from tests.support.blocks import commands
from tests.support.checkout import Checkout
from tests.support.kinds import NAMESPACE, add_kinds, free_volumes

PAGE = Path("docs/operations/stages.md")
BLOCKS = commands(PAGE)
PLAYED = ("clusters.postgresql.cnpg.io", "kafkas.kafka.strimzi.io")
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Played",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]


@dataclass
class Operator:
    """Somebody who types what the page says, in a copy of the checkout."""

    cluster: Cluster
    folder: Path

    def follow(self, heading: str, block: int) -> str:
        """Types one block; what it exports is there in the next one. Returns what it prints."""
        kept = self.folder / "environment"
        script = f"set -euo pipefail\n. {kept}\n{BLOCKS[heading][block]}\nexport -p >{kept}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder / "marquee",
            env={
                "PATH": f"{manifests.kubectl().parent}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "KUBECONFIG": str(self.cluster.kubeconfig),
                "MARQUEE_VENV": str(manifests.kubectl().parents[1]),
                "MARQUEE_WAIT": "240s",
            },
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, f"{BLOCKS[heading][block]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def images(self) -> set[str]:
        """What runs, of our own."""
        found = self.cluster.get("deployments", NAMESPACE, "--selector=marquee/step=serve")["items"]
        used = {c["image"] for each in found for c in each["spec"]["template"]["spec"]["containers"]}
        return {image for image in used if "/marquee" in image}

    def names(self, kind: str) -> set[str]:
        return {each["metadata"]["name"] for each in self.cluster.get(kind, NAMESPACE)["items"]}

    def whole(self) -> bool:
        found = self.cluster.get("deployments", NAMESPACE)["items"]
        return bool(found) and all(
            each["status"].get("availableReplicas", 0) == each["spec"]["replicas"] for each in found
        )


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """On an empty cluster that has the kinds of the operators."""
    folder = tmp_path_factory.mktemp("operations")
    Checkout.at(folder / "marquee")
    (folder / "environment").touch()
    fake_nodes.add_storage(cluster, volumes=12)
    add_kinds(cluster)
    free_volumes(cluster)
    end = threading.Event()
    playing = threading.Thread(target=_play, args=(cluster, end))
    playing.start()
    try:
        yield Operator(cluster, folder)
    finally:
        end.set()
        playing.join()
        cluster.kubectl("delete", "namespace", "marquee", "--timeout=170s", timeout_s=180)


def _play(cluster: Cluster, end: threading.Event) -> None:
    """Says of stores that they are ready, as the operators would."""
    patch = json.dumps({"status": {"conditions": [READY]}})
    while not end.wait(1):
        for kind in PLAYED:
            for each in cluster.get(kind, "--all-namespaces")["items"]:
                if not each.get("status", {}).get("conditions"):
                    name = each["metadata"]["name"]
                    with contextlib.suppress(ClusterError):  # it was just changed by somebody else
                        cluster.kubectl(
                            *("patch", kind, name, NAMESPACE),
                            *("--subresource=status", "--type=merge", "--patch", patch),
                        )


def test_the_first_stage_is_installed_on_an_empty_cluster(operator: Operator) -> None:
    assert "marquee" not in operator.names("namespaces")
    shown = operator.follow("Install", 0)
    assert "movie-svc" in shown
    assert operator.whole()
    assert operator.images() == {
        "ghcr.io/example/marquee/marquee:v1.0.0",
        "ghcr.io/example/marquee/marquee-edge:v1.0.0",
        "ghcr.io/example/marquee/marquee-stores:v1.0.0",  # OMDb's simulator
    }
    assert len(list((operator.folder / "marquee-secrets").iterdir())) > 2


def test_a_release_is_brought_and_the_one_before_brought_back(operator: Operator) -> None:
    heading = "A new release, and back"
    # What operators have switched off stays off.
    flags = json.dumps({"data": {"flags.json": '{"version": 2, "features": [{"name": "streams"}]}'}})
    operator.cluster.kubectl("patch", "configmap", "operators", NAMESPACE, f"--patch={flags}")
    operator.follow(heading, 0)
    assert {image.rpartition(":")[2] for image in operator.images()} == {"v1.1.0"}
    operator.follow(heading, 1)
    assert {image.rpartition(":")[2] for image in operator.images()} == {"v1.0.0"}
    operator.follow(heading, 2)
    assert {image.rpartition(":")[2] for image in operator.images()} == {"v1.0.0", "v1.1.0"}
    kept = operator.cluster.get("configmap", "operators", NAMESPACE)["data"]["flags.json"]
    assert "streams" in kept


def test_the_second_stage_takes_over_from_the_first(operator: Operator) -> None:
    heading = "From `early` to `growth`"
    for block in range(2):
        operator.follow(heading, block)
    assert operator.names("pods") & {"postgres-0", "kafka-0"} == {"postgres-0", "kafka-0"}
    shown = operator.follow(heading, 2)
    assert "kafka.kafka.strimzi.io/kafka" in shown
    # Early's PostgreSQL is there to copy from, until the page says that it may go.
    assert "postgres-0" in operator.names("pods")
    assert "early-postgres" in operator.names("services")
    assert {"movie-svc", "rating-svc", "ranking-svc", "keda"} == operator.names("kafkausers.kafka.strimzi.io")
    assert operator.whole()
    operator.follow(heading, 3)
    assert operator.names("statefulsets") == {"redis"}
    assert operator.names("persistentvolumeclaims") & {"data-postgres-0"} == set()


def test_the_third_stage_grows_out_of_the_second_in_place(operator: Operator) -> None:
    clusters = operator.cluster.get("clusters.postgresql.cnpg.io", NAMESPACE)["items"]
    before = {each["metadata"]["name"]: each["metadata"]["uid"] for each in clusters}
    operator.follow("From `growth` to `scale-up`", 0)
    clusters = operator.cluster.get("clusters.postgresql.cnpg.io", NAMESPACE)["items"]
    after = {each["metadata"]["name"]: each["metadata"]["uid"] for each in clusters}
    assert after.items() > before.items(), "the first database is the same, and there is a second one"
    assert operator.names("statefulsets") == {"redis-ha", "sentinel"}
    assert operator.whole()


def test_every_block_of_the_page_was_typed() -> None:
    assert {heading: len(blocks) for heading, blocks in BLOCKS.items()} == {
        "Install": 1,
        "A new release, and back": 3,
        "From `early` to `growth`": 4,
        "From `growth` to `scale-up`": 1,
    }
