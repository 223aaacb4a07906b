"""A node that really runs pods, beside nothing else on this machine, and leaves no trace."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from k8s.cluster.real_node import RealNode
from k8s.cluster.worker import DNS, DNS_ADDRESS, Worker
from tests.support.node_mesh import on_a_node

pytestmark = on_a_node(timeout_s=900)

# CoreDNS is what the node has as an image in any case: a server, and of names too.
SERVER = """
apiVersion: v1
kind: ConfigMap
metadata: {name: server}
data:
  Corefile: |
    .:53 {
        health :8080
    }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  securityContext: {runAsNonRoot: true, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: server
      image: IMAGE
      args: [-conf, /etc/server/Corefile]
      readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
      resources: {limits: {memory: 64Mi}}
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
      volumeMounts: [{name: config, mountPath: /etc/server}, {name: kept, mountPath: /kept}]
  volumes:
    - {name: config, configMap: {name: server}}
    - {name: kept, persistentVolumeClaim: {claimName: kept}}
"""


def traces(node: RealNode, worker: Worker | None = None) -> str:
    """What of a node can be seen from outside: of the first, or of one that has joined."""
    seen_of = worker or node.first
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mounts").read_text()
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**{seen_of.machine.cgroup}")]
    seen = [line for line in links.splitlines() if line.startswith(seen_of.machine.wire)]
    seen += [line for line in mounts.splitlines() if str(seen_of.folder) in line]
    return "\n".join(seen + cgroups)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    made = RealNode(tmp_path_factory.mktemp("node"))
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_a_pod_runs_with_the_volume_that_it_claims(node: RealNode) -> None:
    node.cluster.apply(SERVER.replace("IMAGE", DNS), "--namespace=default")
    wait = ("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
    node.cluster.kubectl(*wait, timeout_s=70)
    volumes = [v for v in node.cluster.get("persistentvolumes")["items"] if v["status"]["phase"] == "Bound"]
    assert [v["spec"]["claimRef"]["name"] for v in volumes] == ["kept"]


def test_the_cluster_answers_for_names_of_services(node: RealNode) -> None:
    resolver = node.folder / "own-resolv.conf"
    resolver.write_text(f"nameserver {DNS_ADDRESS}\n")
    ask = f"mount --bind {resolver} /etc/resolv.conf && getent hosts kubernetes.default.svc.cluster.local"
    answer = node.cluster.processes.run(node.machine.inside(["sh", "-c", ask]), 30)
    assert answer.split()[0] == "10.96.0.1"


def test_a_second_start_leaves_what_runs_running(node: RealNode) -> None:
    node.up()
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.99", "selector": {"app": "server"}, "ports": [{"port": 8080}]},
    }
    node.cluster.apply(json.dumps(service))
    # By kube-proxy's rules alone this address leads anywhere.
    get = "import urllib.request as r; print(r.urlopen('http://10.96.0.99:8080/health', timeout=2).read())"
    ask = node.machine.inside([sys.executable, "-c", get])
    deadline = time.monotonic() + 60
    while subprocess.run(ask, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_pods_of_two_nodes_reach_each_other(node: RealNode) -> None:
    joined = node.join()
    try:
        where = {"nodeName": joined.name}
        pod = next(each for each in yaml.safe_load_all(SERVER.replace("IMAGE", DNS)) if each["kind"] == "Pod")
        pod["metadata"] = {"name": "far", "labels": {"app": "far"}}
        pod["spec"] |= where | {"volumes": [v for v in pod["spec"]["volumes"] if v["name"] == "config"]}
        [container] = pod["spec"]["containers"]
        container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] == "config"]
        node.cluster.apply(json.dumps(pod), "--namespace=default")
        node.cluster.kubectl("wait", "--for=condition=Ready", "pod/far", "--timeout=60s", timeout_s=70)
        address = node.cluster.get("pod", "far", "--namespace=default")["status"]["podIP"]
        near = node.cluster.get("pod", "server", "--namespace=default")["status"]["podIP"]
        get = "import sys, urllib.request as r; r.urlopen(f'http://{sys.argv[1]}:8080/health', timeout=5)"
        for machine_of, to in ((node.machine, address), (joined.machine, near)):
            node.cluster.processes.run(machine_of.inside([sys.executable, "-c", get, to]), 30)
    finally:
        node.leave(joined)
    assert traces(node, joined) == ""


def test_nothing_of_it_is_seen_from_outside_but_its_wire_and_its_cgroups(node: RealNode) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    assert str(node.folder) not in mounts
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    assert "KUBE-" not in rules


def test_when_it_ends_nothing_of_it_is_left(node: RealNode) -> None:
    assert traces(node)
    node.down()
    assert traces(node) == ""
    assert node.cluster.processes.names() == []
