"""A node that runs pods: containerd, kubelet and kube-proxy, in a machine of its own (`machine`)."""

import json
from pathlib import Path
from typing import Final

import yaml

from k8s.cluster import small_image
from k8s.cluster.control_plane import Cluster, built
from k8s.cluster.machine import Machine, addresses
from k8s.cluster.processes import ClusterError

NAME: Final = "node-1"
DNS_ADDRESS: Final = "10.96.0.10"
PAUSE: Final = "localhost/pause:1"
DNS: Final = "localhost/dns:1"
_PODS: Final = "10.244.0.0/24"
_SYSTEM: Final = Path(__file__).with_name("system")
_VOLUMES: Final = 6
_TIMEOUT_S: Final = 120.0
_IMPORT_TIMEOUT_S: Final = 300.0


class RealNode:
    """The one node of a cluster that has no others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "node"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runtime = built("runtime")
        self._pods = built("pods")
        # The API server listens at the end of the node's wire that is ours.
        self.cluster = Cluster(folder, addresses(self.folder)[0])
        self.machine = Machine(self.folder, self.cluster.processes)

    def up(self) -> None:
        """Starts the cluster and its node, and waits until pods can run and find each other by name."""
        self.machine.start()
        self.cluster.up()
        self._start_containerd()
        for reference, program in ((PAUSE, "pause"), (DNS, "dns")):
            self.add(small_image.write(self.folder / f"{program}.tar", reference, self._pods / program))
        self._start_kubelet()
        self._start_proxy()
        self.cluster.processes.await_true("kubelet", self._ready, "the node", _TIMEOUT_S)
        self._make_volumes()
        for page in sorted(_SYSTEM.glob("*.yaml")):
            self.cluster.apply(page.read_text())
        rollout = ("rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=100s")
        self.cluster.kubectl(*rollout, timeout_s=110)

    def down(self) -> None:
        """Ends the node with all in it, then the control plane. What pods have kept stays in the folder."""
        self.machine.stop()
        self.cluster.down()

    def add(self, archive: Path) -> None:
        """Makes the images of an archive, as `docker save` writes it, known to the node."""
        self.cluster.processes.run(
            self._inside("ctr", "--namespace=k8s.io", "images", "import", "--local", str(archive)),
            _IMPORT_TIMEOUT_S,
        )

    def images(self) -> list[str]:
        """The references of all images that the node knows."""
        listed = self.cluster.processes.run(
            self._inside("ctr", "--namespace=k8s.io", "images", "list", "-q"), 60
        )
        return listed.split()

    def _inside(self, program: str, *arguments: str) -> list[str]:
        return self.machine.inside([str(self.runtime / program), *arguments])

    def _start(self, name: str, command: list[str]) -> None:
        environment = self.machine.environment(self.runtime)
        self.cluster.processes.start(name, self.machine.inside(command), environment)

    def _start_containerd(self) -> None:
        networks = self.folder / "cni"
        networks.mkdir(exist_ok=True)
        (networks / "10-pods.conflist").write_text(json.dumps(_network()))
        config = self.folder / "containerd.toml"
        config.write_text(_CONTAINERD.format(networks=networks, pause=PAUSE))
        self._start("containerd", [str(self.runtime / "containerd"), f"--config={config}"])
        self.cluster.processes.await_true("containerd", self._runs, "containerd", _TIMEOUT_S)

    def _start_kubelet(self) -> None:
        config = self.folder / "kubelet.yaml"
        config.write_text(yaml.safe_dump(self._kubelet_config()))
        (self.folder / "resolv.conf").write_text("")
        self.cluster.pki.issue("node", f"system:node:{NAME}", "system:nodes", hosts=[NAME])
        labels = {"topology.kubernetes.io/zone": "zone-a", "topology.kubernetes.io/region": "region-1"}
        self._start(
            "kubelet",
            [
                *(str(self.cluster.programs / "node"), "kubelet"),
                f"--config={config}",
                f"--kubeconfig={self.cluster.write_kubeconfig('node')}",
                f"--hostname-override={NAME}",
                f"--node-ip={self.machine.there}",
                f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
            ],
        )

    def _start_proxy(self) -> None:
        self.cluster.pki.issue("proxy", "system:kube-proxy", hosts=[NAME])
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.cluster.write_kubeconfig("proxy"))},
            "hostnameOverride": NAME,
            "mode": "iptables",
            "clusterCIDR": _PODS,
            "oomScoreAdj": 0,
            # The kernel's table of connections is sized for all of this machine.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        path = self.folder / "proxy.yaml"
        content = yaml.safe_dump(config)
        # A kube-proxy that runs ends when its file is written, even if nothing changed.
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
        self._start("kube-proxy", [str(self.cluster.programs / "node"), "kube-proxy", f"--config={path}"])

    def _kubelet_config(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": self.cluster.pki.path("ca.pem")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(self.folder / "resolv.conf"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.machine.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "maxPods": 60,
            "serializeImagePulls": False,
            # Images come by import, and could not be pulled again.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
        }

    def _runs(self) -> bool:
        try:
            self.images()
        except ClusterError:
            return False
        return True

    def _ready(self) -> bool:
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in self.cluster.get("nodes")["items"]
            for condition in node["status"].get("conditions", [])
        )

    def _make_volumes(self) -> None:
        """Folders of the node as volumes, for whoever claims one: nobody here makes them on demand."""
        for number in range(1, _VOLUMES + 1):
            (self.folder / "lib" / "volumes" / str(number)).mkdir(parents=True, exist_ok=True)
        volumes = [_volume(number) for number in range(1, _VOLUMES + 1)]
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": volumes}))


_CONTAINERD: Final = """\
version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
  # Not every machine lets a process shield itself from the kernel's hunt for memory.
  restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{networks}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def _network() -> dict[str, object]:
    """Each pod on a wire of its own: what goes between pods is routed, and meets iptables on the way."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": _PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": True, "ipam": addresses}],
    }


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
