"""A cluster whose nodes run pods, each in a machine of its own (`machine`, `worker`)."""

import json
from pathlib import Path
from typing import Final

from k8s.cluster.control_plane import Cluster
from k8s.cluster.machine import addresses
from k8s.cluster.worker import Worker

NAME: Final = "node-1"
_SYSTEM: Final = Path(__file__).with_name("system")
_VOLUMES: Final = 6


class RealNode:
    """A cluster and its first node, where all volumes are; others may `join`."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self.folder = folder / "node"
        self.folder.mkdir(parents=True, exist_ok=True)
        # The API server listens at the end of the node's wire that is ours.
        self.cluster = Cluster(folder, addresses(self.folder)[0])
        self.first = Worker(self.folder, self.cluster, 1)
        self.others: list[Worker] = []
        self.machine = self.first.machine
        self.runtime = self.first.runtime

    def up(self) -> None:
        """Starts the cluster and its node, and waits until pods can run and find each other by name."""
        self.machine.start()
        self.cluster.up()
        self.first.start()
        self._make_volumes()
        for page in sorted(_SYSTEM.glob("*.yaml")):
            self.cluster.apply(page.read_text())
        rollout = ("rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=100s")
        self.cluster.kubectl(*rollout, timeout_s=110)

    def join(self) -> Worker:
        """Starts one more node, with the images of the first; its pods and theirs reach each other."""
        number = 2 + len(self.others)
        joined = Worker(self._root / f"node-{number}", self.cluster, number)
        joined.machine.start()
        for each in (self.first, *self.others):
            joined.machine.meet(each.machine, joined.pods, each.pods, f"pods{number}")
        self.others.append(joined)
        joined.start()
        archive = joined.folder / "images.tar"
        try:
            self.first.save(archive)
            joined.add(archive)
        finally:
            archive.unlink(missing_ok=True)
        return joined

    def leave(self, worker: Worker) -> None:
        """Ends a node that has joined, with all in it."""
        self.others.remove(worker)
        self.cluster.kubectl("delete", "node", worker.name, "--ignore-not-found")
        worker.machine.stop()

    def down(self) -> None:
        """Ends all nodes with what is in them, then the control plane. What pods kept stays in the folder."""
        for each in self.others:
            each.machine.stop()
        self.machine.stop()
        self.cluster.down()

    def add(self, archive: Path) -> None:
        """Makes the images of an archive, as `docker save` writes it, known to all nodes."""
        for each in (self.first, *self.others):
            each.add(archive)

    def images(self) -> list[str]:
        """The references of all images that the first node knows."""
        return self.first.images()

    def _make_volumes(self) -> None:
        """Folders of the node as volumes, for whoever claims one: nobody here makes them on demand."""
        for number in range(1, _VOLUMES + 1):
            (self.folder / "lib" / "volumes" / str(number)).mkdir(parents=True, exist_ok=True)
        volumes = [_volume(number) for number in range(1, _VOLUMES + 1)]
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": volumes}))


def _volume(number: int) -> dict[str, object]:
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": f"/var/lib/volumes/{number}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }
