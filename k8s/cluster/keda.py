"""KEDA on a real node: its operator and its adapter, as two processes in the node's network.

There they reach what pods reach, by the same names; the API server reaches the adapter at the node's address.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from k8s.cluster.control_plane import BUILD, built, module_folder
from k8s.cluster.processes import ClusterError
from k8s.cluster.real_node import RealNode
from k8s.cluster.worker import DNS_ADDRESS

_MODULE: Final = "github.com/kedacore/keda/v2"
_NAMESPACE: Final = "keda"
_PORT: Final = 6443
_OPERATOR, _ADAPTER = "keda-operator", "keda-adapter"
_TIMEOUT_S: Final = 120.0
# With names as a pod of the mesh's namespace looks them up, for this process alone.
_LOOKING_UP: Final = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


def missing() -> str:
    """What is not built yet for it, as a sentence; empty if nothing. It takes too long for a test."""
    looked = subprocess.run([str(BUILD), "--look", "keda"], capture_output=True, check=False)
    return (
        "KEDA is not built: k8s/tools/build.sh keda does it (45 min of CPU time)" if looked.returncode else ""
    )


def start(node: RealNode, namespace: str) -> None:
    """Starts it, and waits until the API server answers for its metrics.

    `namespace` is the one whose names KEDA finds without saying it.
    """
    programs, folder = built("keda"), node.folder / "keda"
    folder.mkdir(exist_ok=True)
    cluster = node.cluster
    for kind in _kinds():
        cluster.apply(kind.read_text())
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=60s", "crd/scaledobjects.keda.sh", timeout_s=70
    )
    _issue(node, folder)
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(node.machine.there)}))
    resolver = folder / "resolv.conf"
    resolver.write_text(
        f"nameserver {DNS_ADDRESS}\nsearch {namespace}.svc.cluster.local svc.cluster.local\noptions ndots:5\n"
    )
    certificates = f"--cert-dir={folder}"
    operator = [
        str(programs / "operator"),
        *(certificates, f"--ca-dir={folder}", "--zap-log-level=info"),
        *("--metrics-bind-address=127.0.0.1:8090", "--health-probe-bind-address=127.0.0.1:8091"),
        "--metrics-service-bind-address=127.0.0.1:9666",
        *("--enable-webhook-patching=false", "--enable-apiservice-patching=false"),
    ]
    adapter = [
        str(programs / "adapter"),
        *(certificates, f"--secure-port={_PORT}", f"--bind-address={node.machine.there}", "--port=8092"),
        *(f"--client-ca-file={folder}/ca.crt", f"--tls-cert-file={folder}/tls.crt"),
        *(f"--tls-private-key-file={folder}/tls.key", "--metrics-service-address=localhost:9666"),
        *(f"--{use}kubeconfig={cluster.kubeconfig}" for use in ("authentication-", "authorization-", "")),
        f"--lister-kubeconfig={cluster.kubeconfig}",
    ]
    environment = {
        **node.machine.environment(programs),
        "KUBECONFIG": str(cluster.kubeconfig),
        "POD_NAME": _OPERATOR,
        "POD_NAMESPACE": _NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": _NAMESPACE,
        "OPERATOR_NAME": _OPERATOR,
        "WATCH_NAMESPACE": "",
    }
    for name, command in ((_OPERATOR, operator), (_ADAPTER, adapter)):
        own = ["unshare", "--mount", "sh", "-c", _LOOKING_UP, str(resolver), *command]
        cluster.processes.start(name, node.machine.inside(own), environment)
    cluster.processes.await_true(_ADAPTER, lambda: _answers(node), "KEDA's metrics", _TIMEOUT_S)


def stop(node: RealNode) -> None:
    """Ends it, and removes what stood in the cluster for it. No object of its kinds may be left."""
    for name in (_ADAPTER, _OPERATOR):
        node.machine.end(name)
    # The namespace last: it does not end as long as the API server misses an answer of the adapter.
    for each in reversed(_objects(node.machine.there)):
        where = each["metadata"].get("namespace")
        own = [f"--namespace={where}"] if where else []
        node.cluster.kubectl("delete", each["kind"], each["metadata"]["name"], *own, "--ignore-not-found")
    files = [f"--filename={kind}" for kind in _kinds()]
    node.cluster.kubectl("delete", "--ignore-not-found", *files)


def _kinds() -> list[Path]:
    """The files of its kinds, in the Go module."""
    return sorted((module_folder(_MODULE, "keda") / "config" / "crd" / "bases").glob("*.yaml"))


def _issue(node: RealNode, folder: Path) -> None:
    """Its certificate, under the names that it looks for."""
    pki = node.cluster.pki
    pki.issue("keda", _OPERATOR, hosts=["localhost", f"{_OPERATOR}.{_NAMESPACE}.svc", "127.0.0.1"])
    for own, wanted in (("keda.pem", "tls.crt"), ("keda.key", "tls.key"), ("ca.pem", "ca.crt")):
        shutil.copy(pki.path(own), folder / wanted)


def _objects(address: str) -> list[dict[str, Any]]:
    """By what the API server finds the adapter."""
    service = {"name": "keda-metrics-apiserver", "namespace": _NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {"type": "ExternalName", "externalName": address, "ports": [{"port": _PORT}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "service": {**service, "port": _PORT},
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]


def _answers(node: RealNode) -> bool:
    try:
        node.cluster.kubectl("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1", timeout_s=5)
    except ClusterError:
        return False
    return True
