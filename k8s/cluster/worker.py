"""A node that runs pods: containerd, kubelet and kube-proxy, in a machine of its own (`machine`)."""

import json
from pathlib import Path
from typing import Final

import yaml

from k8s.cluster import small_image
from k8s.cluster.control_plane import POD_RANGE, Cluster, built
from k8s.cluster.machine import Machine
from k8s.cluster.processes import ClusterError

DNS_ADDRESS: Final = "10.96.0.10"
PAUSE: Final = "localhost/pause:1"
DNS: Final = "localhost/dns:1"
_TIMEOUT_S: Final = 120.0
_IMPORT_TIMEOUT_S: Final = 300.0


class Worker:
    """One node of a cluster; the first has the number 1."""

    def __init__(self, folder: Path, cluster: Cluster, number: int) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster = cluster
        self.name = f"node-{number}"
        self._zone = f"zone-{chr(ord('a') + number - 1)}"
        self.pods = f"10.244.{number - 1}.0/24"
        self.runtime = built("runtime")
        self._images = built("pods")
        # Names of processes and certificates: those of the first are plain.
        self._suffix = "" if number == 1 else f"-{number}"
        self.machine = Machine(self.folder, cluster.processes, self._own("machine"))

    def start(self) -> None:
        """Starts it, and waits until pods can run there. Its machine and its cluster run already."""
        self._leave_unchanged_what_pods_say_to_pods()
        self._start_containerd()
        for reference, program in ((PAUSE, "pause"), (DNS, "dns")):
            self.add(small_image.write(self.folder / f"{program}.tar", reference, self._images / program))
        self._start_kubelet()
        self._start_proxy()
        self.cluster.processes.await_true(self._own("kubelet"), self._ready, "the node", _TIMEOUT_S)

    def _own(self, name: str) -> str:
        return f"{name}{self._suffix}"

    def _leave_unchanged_what_pods_say_to_pods(self) -> None:
        """Only what leaves the cluster gets the node's address: nobody there knows a way back to a pod."""
        rule = f"POSTROUTING -s {self.pods} ! -d {POD_RANGE} -j MASQUERADE"
        table = "iptables -w -t nat"
        command = f"{table} -C {rule} 2>/dev/null || {table} -A {rule}"
        self.cluster.processes.run(self.machine.inside(["sh", "-c", command]), _TIMEOUT_S)

    def add(self, archive: Path) -> None:
        """Makes the images of an archive, as `docker save` writes it, known to the node."""
        self.cluster.processes.run(
            self._inside("ctr", "--namespace=k8s.io", "images", "import", "--local", str(archive)),
            _IMPORT_TIMEOUT_S,
        )

    def save(self, archive: Path) -> None:
        """Writes all images that the node knows by name to an archive that `add` reads."""
        names = [name for name in self.images() if name.startswith("localhost/") and "@" not in name]
        self.cluster.processes.run(
            self._inside("ctr", "--namespace=k8s.io", "images", "export", str(archive), *names),
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
        self.cluster.processes.start(self._own(name), self.machine.inside(command), environment)

    def _start_containerd(self) -> None:
        networks = self.folder / "cni"
        networks.mkdir(exist_ok=True)
        (networks / "10-pods.conflist").write_text(json.dumps(_network(self.pods)))
        config = self.folder / "containerd.toml"
        config.write_text(_CONTAINERD.format(networks=networks, pause=PAUSE))
        self._start("containerd", [str(self.runtime / "containerd"), f"--config={config}"])
        self.cluster.processes.await_true(self._own("containerd"), self._runs, "containerd", _TIMEOUT_S)

    def _start_kubelet(self) -> None:
        config = self.folder / "kubelet.yaml"
        config.write_text(yaml.safe_dump(self._kubelet_config()))
        (self.folder / "resolv.conf").write_text("")
        own = self._own("node")
        self.cluster.pki.issue(own, f"system:node:{self.name}", "system:nodes", hosts=[self.name])
        labels = {
            "topology.kubernetes.io/zone": self._zone,
            "topology.kubernetes.io/region": "region-1",
        }
        self._start(
            "kubelet",
            [
                *(str(self.cluster.programs / "node"), "kubelet"),
                f"--config={config}",
                f"--kubeconfig={self.cluster.write_kubeconfig(own)}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.machine.there}",
                f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
            ],
        )

    def _start_proxy(self) -> None:
        own = self._own("proxy")
        self.cluster.pki.issue(own, "system:kube-proxy", hosts=[self.name])
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.cluster.write_kubeconfig(own))},
            "hostnameOverride": self.name,
            "mode": "iptables",
            "clusterCIDR": POD_RANGE,
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
            node["metadata"]["name"] == self.name
            and condition["type"] == "Ready"
            and condition["status"] == "True"
            for node in self.cluster.get("nodes")["items"]
            for condition in node["status"].get("conditions", [])
        )


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


def _network(pods: str) -> dict[str, object]:
    """Each pod on a wire of its own: what goes between pods is routed, and meets iptables on the way."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}],
    }
