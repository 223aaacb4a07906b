"""What a test cluster needs before a stage comes: the operators' kinds, and volumes that nobody holds."""

import json
from typing import Final

from k8s.cluster import crds
from k8s.cluster.control_plane import Cluster

NAMESPACE: Final = "--namespace=marquee"


def add_kinds(cluster: Cluster) -> None:
    """Makes the kinds of all operators known, and waits until they are."""
    for file in crds.fetch():
        cluster.apply(file.read_text())
    for each in cluster.get("customresourcedefinitions")["items"]:
        name = f"crd/{each['metadata']['name']}"
        cluster.kubectl("wait", "--for=condition=Established", name, "--timeout=60s", timeout_s=70)


def free_volumes(cluster: Cluster) -> None:
    """Makes free by hand what was claimed once: nobody looks after these volumes."""
    for volume in cluster.get("persistentvolumes")["items"]:
        patch = json.dumps({"spec": {"claimRef": None}})
        cluster.kubectl("patch", "persistentvolume", volume["metadata"]["name"], "--patch", patch)
