"""kwok's nodes in three zones: pods on them are scheduled, and Ready at once, and never run.

metrics-server shows the usage that a pod's annotations tell (`kwok.x-k8s.io/usage-cpu`), so that autoscalers
have something to follow. See https://kwok.sigs.k8s.io/.
"""

import json
from typing import Any, Final

from k8s.cluster.control_plane import Cluster, module_folder
from k8s.cluster.processes import ClusterError

ZONES: Final = ("zone-a", "zone-b", "zone-c")
_STAGES: Final = ("stage/node/fast", "stage/node/heartbeat-with-lease", "stage/pod/fast", "metrics/usage")
_TIMEOUT_S: Final = 120.0


def start(cluster: Cluster, per_zone: int = 3) -> None:
    """Adds `per_zone` nodes of 8 cores and 32 GiB in each zone, and waits until they are Ready."""
    stages = cluster.folder / "kwok.yaml"
    stages.write_text("\n---\n".join(_stage(cluster, name) for name in _STAGES))
    cluster.processes.start(
        "kwok",
        [
            str(cluster.programs / "kwok"),
            f"--kubeconfig={cluster.kubeconfig}",
            f"--config={stages}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--server-address=127.0.0.1:{cluster.ports['metrics']}",
            # Where metrics-server finds each node's kubelet: it is this one server for all of them.
            "--node-ip=127.0.0.1",
            f"--node-port={cluster.ports['metrics']}",
            # Else the nodes say nothing for ten minutes, and the controllers take them for dead after 40 s.
            "--node-lease-duration-seconds=40",
        ],
    )
    nodes = [_node(zone, number) for zone in ZONES for number in range(1, per_zone + 1)]
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
    cluster.processes.await_true("kwok", lambda: ready(cluster) >= len(nodes), "the nodes", _TIMEOUT_S)


def start_metrics(cluster: Cluster) -> None:
    """Starts metrics-server, and waits until it tells what the nodes use."""
    own = f"--{{}}kubeconfig={cluster.kubeconfig}"
    cluster.processes.start(
        "metrics-server",
        [
            str(cluster.programs / "metrics-server"),
            *(own.format(use) for use in ("", "authentication-", "authorization-")),
            "--bind-address=127.0.0.1",
            f"--secure-port={cluster.ports['metrics-server']}",
            f"--cert-dir={cluster.folder / 'metrics-server'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--kubelet-use-node-status-port",
            # What kwok serves on the loopback is made up.
            "--deprecated-kubelet-completely-insecure",
            "--metric-resolution=15s",
        ],
    )
    port = cluster.ports["metrics-server"]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics-server", "namespace": "kube-system"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    aggregated = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "service": {"name": "metrics-server", "namespace": "kube-system", "port": port},
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, aggregated]}))
    cluster.processes.await_true("metrics-server", lambda: _measured(cluster), "metrics", _TIMEOUT_S)


def _measured(cluster: Cluster) -> bool:
    try:
        found = json.loads(cluster.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes", timeout_s=5))
    except ClusterError:
        return False
    return bool(found["items"])


def add_storage(cluster: Cluster, volumes: int) -> None:
    """Adds a default class of storage with so many volumes of 1 GiB; nothing is ever written to them."""
    of_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "fake",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }
    made = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"fake-{number}"},
            "spec": {
                "storageClassName": "fake",
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/nowhere"},
            },
        }
        for number in range(1, volumes + 1)
    ]
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [of_class, *made]}))


def ready(cluster: Cluster) -> int:
    """How many nodes are Ready."""
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
        for node in cluster.get("nodes")["items"]
    )


def _node(zone: str, number: int) -> dict[str, Any]:
    name = f"{zone}-{number}"
    size = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {
                "kwok.x-k8s.io/node": "fake",
                "metrics.k8s.io/resource-metrics-path": f"/metrics/nodes/{name}/metrics/resource",
                "node.alpha.kubernetes.io/ttl": "0",
            },
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": zone,
                "topology.kubernetes.io/region": "region-1",
            },
        },
        "status": {"allocatable": size, "capacity": size},
    }


def _stage(cluster: Cluster, name: str) -> str:
    """How kwok lets nodes and pods behave: its own rules, from its module."""
    return cluster.kubectl("kustomize", str(module_folder("sigs.k8s.io/kwok") / "kustomize" / name))
