"""Karpenter with kwok's nodes: they come when pods have no place, and go when nobody needs them.

See https://karpenter.sh/docs/concepts/nodepools/ and https://github.com/kubernetes-sigs/karpenter/tree/main/kwok.
"""

import json
from typing import Any, Final

from k8s.cluster.control_plane import Cluster, built, module_folder
from k8s.cluster.fake_nodes import ZONES

POOL: Final = "marquee"
OF_POOL: Final = f"karpenter.sh/nodepool={POOL}"
"""What nodes of its own are selected by."""
_PROGRAM: Final = "karpenter"
_MODULE: Final = "sigs.k8s.io/karpenter"
_KINDS: Final = ("kwok/apis/crds", "pkg/apis/crds")
_UNNEEDED_FOR: Final = "5s"
"""How long no pod comes or goes on a node until it is asked whether the others have room for its pods."""


def start(cluster: Cluster) -> None:
    """Starts it beside a cluster that has kwok's nodes, and waits until its pool is ready."""
    module = module_folder(_MODULE, "karpenter")
    pages = [page for folder in _KINDS for page in sorted((module / folder).glob("*.yaml"))]
    for page in pages:
        cluster.apply(page.read_text())
    for kind in ("nodepools.karpenter.sh", "nodeclaims.karpenter.sh", "kwoknodeclasses.karpenter.kwok.sh"):
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind}", "--timeout=60s", timeout_s=70)
    sizes = cluster.folder / "sizes.json"
    sizes.write_text(json.dumps([_size()]))
    cluster.processes.start(
        _PROGRAM,
        [str(built("karpenter") / _PROGRAM)],
        {
            "KUBECONFIG": str(cluster.kubeconfig),
            "SYSTEM_NAMESPACE": "kube-system",
            "DISABLE_LEADER_ELECTION": "true",
            # Pods would rather be spread evenly: that must not keep a node that nobody needs.
            "PREFERENCE_POLICY": "Ignore",
            "INSTANCE_TYPES_FILE_PATH": str(sizes),
            # Any free port: nobody asks.
            "METRICS_PORT": "0",
            "HEALTH_PROBE_PORT": "0",
        },
    )
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": _pool()}))
    cluster.processes.await_true(_PROGRAM, lambda: _ready(cluster), "Karpenter's pool", 120)


def _ready(cluster: Cluster) -> bool:
    conditions = cluster.get("nodepool", POOL).get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _size() -> dict[str, Any]:
    """The one size of nodes that there is, as large as those of `fake_nodes`, in every zone."""

    def one_of(key: str, value: str) -> dict[str, Any]:
        return {"key": key, "operator": "In", "values": [value]}

    kind = one_of("karpenter.sh/capacity-type", "on-demand")
    return {
        "name": "node-8",
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "20Gi", "pods": "110"},
        "offerings": [
            {
                "Price": 1.0,
                "Available": True,
                "Requirements": [kind, one_of("topology.kubernetes.io/zone", zone)],
            }
            for zone in ZONES
        ],
    }


def _pool() -> list[dict[str, Any]]:
    node_class = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": POOL}
    return [
        {"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": POOL}},
        {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": POOL},
            "spec": {
                "template": {
                    "spec": {
                        "nodeClassRef": node_class,
                        "expireAfter": "Never",
                        "requirements": [
                            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        ],
                    }
                },
                "limits": {"cpu": "64"},
                "disruption": {
                    "consolidationPolicy": "WhenEmptyOrUnderutilized",
                    "consolidateAfter": _UNNEEDED_FOR,
                    "budgets": [{"nodes": "100%"}],
                },
            },
        },
    ]
