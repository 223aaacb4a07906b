"""etcd, API server, controller manager and scheduler of one cluster."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from k8s.cluster.pki import Pki
from k8s.cluster.processes import ClusterError, Processes
from local.stack.layout import choose_ports

BUILD: Final = Path(__file__).parents[1] / "tools" / "build.sh"
SERVICE_RANGE: Final = "10.96.0.0/16"
POD_RANGE: Final = "10.244.0.0/16"

_PORTS: Final = ("api", "etcd", "etcd-peer", "manager", "scheduler", "metrics", "metrics-server")
_TIMEOUT_S: Final = 120.0


class Cluster:
    """One cluster, its state in a folder; `address` is this machine's own, where the API server listens."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self.address = address
        self.processes = Processes(folder / "run")
        self.pki = Pki(folder / "pki")
        self.programs = built()
        self.ports = self._choose_ports()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.conf"

    def kubectl(self, *arguments: str, given: str | None = None, timeout_s: float = 60.0) -> str:
        """Runs kubectl as the administrator; returns what it prints.

        Raises:
            ClusterError: it failed; with its own words.
        """
        command = [str(self.programs / "controlplane"), "kubectl", "--kubeconfig", str(self.kubeconfig)]
        command += [f"--request-timeout={timeout_s:.0f}s", *arguments]
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, timeout=timeout_s + 10, check=False
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"kubectl {' '.join(arguments)}: no answer in {timeout_s + 10:.0f} s"
            ) from None
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, manifests: str, *options: str) -> str:
        """Applies manifests on the server's side, which refuses fields that it does not know."""
        return self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--validate=strict", *options, "-f", "-"),
            given=manifests,
            timeout_s=180,
        )

    def up(self, *, hpa_sync_s: int = 5) -> None:
        """Starts the control plane and waits until it answers."""
        self._issue()
        self._start_etcd()
        self._start_api_server()
        self.processes.await_true("kube-apiserver", self._ready, "the API server", _TIMEOUT_S)
        self._start_controllers(hpa_sync_s)
        self.processes.await_true(
            "kube-controller-manager",
            lambda: bool(self.get("serviceaccounts", "--namespace=default")["items"]),
            "the controllers",
            _TIMEOUT_S,
        )

    def down(self) -> None:
        """Stops all, the last first: a server that outlives its etcd hangs."""
        for name in reversed(self.processes.names()):
            # The API server waits for clients that went away silently: its state is etcd's.
            self.processes.stop(name, timeout_s=4)

    def _advertised(self) -> str:
        """By what address pods find the API server, which refuses to advertise a loopback one."""
        return advertised() if self.address.startswith("127.") else self.address

    def _ready(self) -> bool:
        try:
            self.kubectl("get", "--raw", "/readyz", timeout_s=2)
        except ClusterError:
            return False
        return True

    def _choose_ports(self) -> dict[str, int]:
        file = self.folder / "ports.json"
        kept: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        missing = [name for name in _PORTS if name not in kept]
        ports = {**kept, **choose_ports(missing, {}, {})}
        file.write_text(json.dumps(ports))
        return ports

    def _issue(self) -> None:
        issue = self.pki.issue
        hosts = ["localhost", "kubernetes.default.svc", "127.0.0.1", "10.96.0.1", self._advertised()]
        issue("apiserver", "kube-apiserver", hosts=hosts)
        issue("aggregator", "aggregator")
        issue("kubelet-client", "apiserver-kubelet-client", "system:masters")
        for name, common_name, organization in (
            ("admin", "admin", "system:masters"),
            ("manager", "system:kube-controller-manager", ""),
            ("scheduler", "system:kube-scheduler", ""),
        ):
            issue(name, common_name, organization)
            self.write_kubeconfig(name)

    def write_kubeconfig(self, name: str) -> Path:
        """Writes NAME.conf, for the certificate of that name; returns its path."""
        path = self.folder / f"{name}.conf"
        cluster = {
            "server": f"https://{self.address}:{self.ports['api']}",
            "certificate-authority": self.pki.path("ca.pem"),
        }
        user = {
            "client-certificate": self.pki.path(f"{name}.pem"),
            "client-key": self.pki.path(f"{name}.key"),
        }
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "marquee", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "marquee", "context": {"cluster": "marquee", "user": name}}],
            "current-context": "marquee",
        }
        # JSON is YAML.
        path.write_text(json.dumps(content, indent=1))
        return path

    def _start(self, name: str, arguments: Sequence[str]) -> None:
        self.processes.start(name, [str(self.programs / "controlplane"), name, *arguments])

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self.ports['etcd']}"
        peer = f"http://127.0.0.1:{self.ports['etcd-peer']}"
        self._start(
            "etcd",
            [
                f"--data-dir={self.folder / 'etcd'}",
                # What is lost with this machine is lost anyway.
                "--unsafe-no-fsync",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--log-level=warn",
            ],
        )

    def _start_api_server(self) -> None:
        path = self.pki.path
        self._start(
            "kube-apiserver",
            [
                f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}",
                f"--bind-address={self.address}",
                f"--secure-port={self.ports['api']}",
                f"--advertise-address={self._advertised()}",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                f"--tls-cert-file={path('apiserver.pem')}",
                f"--tls-private-key-file={path('apiserver.key')}",
                f"--client-ca-file={path('ca.pem')}",
                f"--cert-dir={self.folder / 'pki'}",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={path('accounts.key')}",
                f"--service-account-signing-key-file={path('accounts.key')}",
                f"--requestheader-client-ca-file={path('ca.pem')}",
                "--requestheader-allowed-names=aggregator",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={path('aggregator.pem')}",
                f"--proxy-client-key-file={path('aggregator.key')}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-client-certificate={path('kubelet-client.pem')}",
                f"--kubelet-client-key={path('kubelet-client.key')}",
            ],
        )

    def _start_controllers(self, hpa_sync_s: int) -> None:
        path = self.pki.path
        manager, scheduler = (str(self.folder / f"{name}.conf") for name in ("manager", "scheduler"))
        self._start(
            "kube-controller-manager",
            [
                *(f"--{use}kubeconfig={manager}" for use in ("", "authentication-", "authorization-")),
                f"--secure-port={self.ports['manager']}",
                f"--service-account-private-key-file={path('accounts.key')}",
                f"--root-ca-file={path('ca.pem')}",
                f"--cluster-signing-cert-file={path('ca.pem')}",
                f"--cluster-signing-key-file={path('ca.key')}",
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--allocate-node-cidrs",
                f"--cluster-cidr={POD_RANGE}",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                f"--horizontal-pod-autoscaler-sync-period={hpa_sync_s}s",
                "--horizontal-pod-autoscaler-cpu-initialization-period=5s",
                "--horizontal-pod-autoscaler-initial-readiness-delay=2s",
                # A minute of quiet is enough for a test of scaling down.
                "--horizontal-pod-autoscaler-downscale-stabilization=20s",
                "--node-monitor-grace-period=40s",
            ],
        )
        self._start(
            "kube-scheduler",
            [
                *(f"--{use}kubeconfig={scheduler}" for use in ("", "authentication-", "authorization-")),
                f"--secure-port={self.ports['scheduler']}",
                "--leader-elect=false",
            ],
        )


def advertised() -> str:
    """This machine's own address."""
    shown = subprocess.run(
        ["ip", "-4", "-j", "addr", "show", "scope", "global"], capture_output=True, text=True, check=False
    )
    for link in json.loads(shown.stdout or "[]"):
        for address in link.get("addr_info", []):
            return str(address["local"])
    raise ClusterError("this machine has no network address but the loopback's, and Kubernetes needs one")


def built(*what: str) -> Path:
    """The folder of programs that are built from Go modules, once: see k8s/tools/build.sh.

    Raises:
        ClusterError: they could not be built.
    """
    done = subprocess.run([str(BUILD), *what], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ClusterError("the programs of Kubernetes could not be built: see above")
    return Path(done.stdout.strip())


def module_folder(module: str, of: str = "") -> Path:
    """Where a Go module's own files are, of the version that `k8s/tools/OF/go.mod` pins.

    Raises:
        ClusterError: it is not there.
    """
    done = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", module],
        cwd=BUILD.parent / of,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOFLAGS": "-mod=readonly"},
    )
    if done.returncode or not done.stdout.strip():
        raise ClusterError(f"the Go module {module} is not there: {done.stderr.strip()}")
    return Path(done.stdout.strip())
