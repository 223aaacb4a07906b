"""The mesh of the overlay `early` on a real node, brought there as `make k8s` does it."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from k8s import demo
from k8s.cluster import machine
from k8s.cluster.processes import ClusterError
from k8s.place import OWN, OwnCluster
from local.commands import admin
from local.commands import demo as loading
from local.commands.loading import Way
from local.commands.movielens import open_dataset
from local.stack.layout import Secrets, Stack
from mesh.provision import SUPERUSER
from mesh.services import DATABASE
from tests.support.steady import Load

OVERLAY: Final = "../../tests/kubernetes/overlay"
"""From k8s/overlays: `early`, with a place for releases on trial."""
SERVERS: Final = ("edge", "movie-svc", "rating-svc", "ranking-svc")
BEHIND: Final = ("rating-worker", "rating-relay", "ranking-consumer")
_NAMESPACE: Final = "marquee"
_RATINGS: Final = 2000
_MOVIES: Final = 60
_POLL_S: Final = 0.3


def on_a_node(timeout_s: int = 1800, also_missing: str = "") -> list[pytest.MarkDecorator]:
    """The marks of tests on a real node. Where this machine lacks something for that, they are skipped."""
    lacks = machine.missing() or also_missing
    return [
        pytest.mark.kubernetes,
        pytest.mark.node,
        pytest.mark.timeout(timeout_s),
        pytest.mark.skipif(bool(lacks), reason=lacks or "all is there"),
    ]


@dataclass
class NodeMesh:
    """The mesh, its cluster, and how both are asked."""

    home: Path

    def __post_init__(self) -> None:
        # What `k8s.demo` finds it by.
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "context").write_text(OWN)
        self.place = OwnCluster(self.home / "cluster")
        self.cluster = self.place.node.cluster
        host, port = self.place.edge
        self.url = f"http://{host}:{port}"

    def up(self) -> None:
        """Brings it, with some ratings, and compares its chart with a recount."""
        demo.bring(self.place, self.home, OVERLAY)
        with self.stack() as stack:
            # One that was left running has the ratings of earlier tests.
            if not admin.totals(stack).votes:
                given = {"limit": _RATINGS, "way": Way.BATCH, "place": demo.of(self.place)}
                assert loading.run(stack, None, **given) == 0

    def down(self) -> None:
        """Removes all of it."""
        self.place.remove()

    def stack(self) -> contextlib.AbstractContextManager[Stack]:
        """What operators call, as long as the block lasts and the pods that it found run."""
        return demo.mesh(self.place, self.home)

    def load(self) -> Load:
        """A load on it that does not run yet."""
        rated = dict.fromkeys(rating.movie for rating in open_dataset(None, _RATINGS).ratings)
        return Load(self.url, demo.secrets_folder(self.home) / "tokens", list(rated)[:_MOVIES])

    def differing(self) -> int:
        """What `marquee verify` says: how many movies' aggregates are not the recount of the ratings."""
        with self.stack() as stack:
            self.becomes(lambda: admin.totals(stack).pending == 0, "all changes were handed on")
            compared = admin.reconcile(stack)
        print(f"compared {compared.compared} movies: {compared.differing} differ", flush=True)
        assert compared.compared > 0
        return compared.differing

    def kubectl(self, *arguments: str, given: str | None = None, timeout_s: float = 60.0) -> str:
        return self.cluster.kubectl(f"--namespace={_NAMESPACE}", *arguments, given=given, timeout_s=timeout_s)

    def get(self, *arguments: str) -> Any:
        return self.cluster.get(f"--namespace={_NAMESPACE}", *arguments)

    def pods(self, name: str) -> list[dict[str, Any]]:
        """The pods of a workload, also those that are on their way out."""
        found: list[dict[str, Any]] = self.get("pods", f"--selector=app.kubernetes.io/name={name}")["items"]
        return [pod for pod in found if pod["status"]["phase"] == "Running"]

    def settled(self, name: str, count: int) -> bool:
        """Whether a workload has so many pods, all ready, and none that is going."""
        found = self.pods(name)
        return len(found) == count and all(map(is_ready, found))

    def scale(self, count: int, *names: str) -> None:
        """Sets how many pods Deployments have, and waits for them."""
        self.kubectl("scale", f"--replicas={count}", *(f"deployment/{name}" for name in names))
        for name in names:
            self.becomes(lambda name=name: self.settled(name, count), f"{name} has {count} pods")

    def release(self, name: str, tag: str) -> None:
        """Rolls a new release of a Deployment out, until the last pod of the old one is gone.

        It is the same image under another tag, which is all that a Deployment sees of a release.
        """
        spec = self.get("deployment", name)["spec"]
        images = [
            f"{container['name']}={container['image'].rpartition(':')[0]}:{tag}"
            for kind in ("initContainers", "containers")
            for container in spec["template"]["spec"].get(kind, ())
        ]
        for image in {each.partition("=")[2] for each in images}:
            with contextlib.suppress(ClusterError):  # it is there already
                self._ctr("images", "tag", f"{image.rpartition(':')[0]}:dev", image)
        self.kubectl("set", "image", f"deployment/{name}", *images)
        self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=280s", timeout_s=290)
        self.becomes(lambda: self.settled(name, spec["replicas"]), f"{name} has only new pods")

    def kill(self, pod: dict[str, Any], container: str) -> None:
        """SIGKILL for the first process of a container, as the kernel would send it."""
        [status] = [s for s in pod["status"]["containerStatuses"] if s["name"] == container]
        self._ctr("tasks", "kill", "--signal=SIGKILL", status["containerID"].removeprefix("containerd://"))

    def execute(self, target: str, container: str, *command: str, timeout_s: float = 60.0) -> str:
        return self.kubectl("exec", target, f"--container={container}", "--", *command, timeout_s=timeout_s)

    def sql(self, statement: str, timeout_s: float = 60.0) -> str:
        """Runs a statement in the services' database, as the superuser; returns its values, a row a line."""
        password = Secrets(demo.secrets_folder(self.home) / "secrets.json").get(f"postgres/{SUPERUSER}")
        server = f"postgresql://{SUPERUSER}:{password}@127.0.0.1/{DATABASE}"
        words = ("psql", "--no-psqlrc", "--quiet", "-At", "--set=ON_ERROR_STOP=1", server, "-c", statement)
        return self.execute("statefulset/postgres", "postgres", *words, timeout_s=timeout_s)

    def becomes(self, condition: Callable[[], bool], what: str, timeout_s: float = 300.0) -> float:
        """Waits until something is so; returns how long it took, in seconds."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout_s, f"{what}: not within {timeout_s:g} s"
            time.sleep(_POLL_S)
        return time.monotonic() - began

    def _ctr(self, *arguments: str) -> str:
        node = self.place.node
        command = node.machine.inside([str(node.runtime / "ctr"), "--namespace=k8s.io", *arguments])
        return self.cluster.processes.run(command, 60)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready, and not on its way out."""
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ())
    )
