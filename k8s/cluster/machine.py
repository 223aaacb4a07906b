"""A machine inside this one: network, mounts and processes of its own, for a node that leaves no trace.

All of a node's interfaces, rules of iptables, mounts and processes lie in namespaces that end with their
first process. Only its cgroups, which no namespace holds, are removed by hand. Files are in one folder.
"""

import contextlib
import ipaddress
import os
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from k8s.cluster.processes import ClusterError, Processes

INIT: Final = Path(__file__).with_name("machine.sh")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_NETWORKS: Final = ipaddress.ip_network("10.213.0.0/16")
_TIMEOUT_S: Final = 15.0

# Of CPU time where it is short: as much as sixteen ordinary processes, which is what the pods replace.
_SHARES: Final = {"cpu.shares": 16 * 1024, "cpu.weight": 1600}

# Programs by the package of Debian that has them.
_NEEDED: Final = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "runc": "runc",
}
_PLUGINS: Final = Path("/usr/lib/cni")


def missing() -> str:
    """What this machine lacks to hold another, as a sentence; empty if nothing."""
    if os.geteuid() != 0:
        return (
            "a real node needs root here, for namespaces, mounts and cgroups: run it as root, or set "
            "KUBECONFIG to a cluster of your own"
        )
    packages = {package for program, package in _NEEDED.items() if not shutil.which(program, path=_path())}
    if not (_PLUGINS / "ptp").exists():
        packages.add("containernetworking-plugins")
    return (
        f"a real node needs more packages: apt-get install {' '.join(sorted(packages))}" if packages else ""
    )


class Machine:
    """The machine of one folder; `here` and `there` are the two ends of the wire to it."""

    def __init__(self, folder: Path, processes: Processes, name: str = "machine") -> None:
        self.folder = folder
        self._processes = processes
        self._name = name
        # One for each folder: two clusters on this machine must not meet.
        number = zlib.crc32(str(folder.resolve()).encode())
        self.wire = f"mq{number:08x}"
        self._cgroup = f"marquee-{number:08x}"
        self.here, self.there = addresses(folder)

    @property
    def cgroup(self) -> str:
        """The cgroup that all of its pods are below."""
        return f"/{self._cgroup}"

    def start(self) -> None:
        """Makes it, unless it runs.

        Raises:
            ClusterError: this machine can't hold it.
        """
        if self._first():
            return
        if lack := missing():
            raise ClusterError(lack)
        for hidden in ("/run", "/var/lib", "/var/log"):
            if self.folder.resolve().is_relative_to(hidden):
                raise ClusterError(
                    f"{self.folder} lies below {hidden}, of which a node has its own: set MARQUEE_HOME"
                )
        self._remove_cgroups()
        self._make_cgroups()
        (self.folder / "ready").unlink(missing_ok=True)
        namespaces = ["--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
        self._processes.start(self._name, ["unshare", *namespaces, "sh", str(INIT), str(self.folder)])
        self._processes.await_true(self._name, (self.folder / "ready").exists, "the namespaces", _TIMEOUT_S)
        self._connect()

    def stop(self) -> None:
        """Ends all of its processes at once, and removes what is left: nothing of it needs a goodbye."""
        if pid := self._first():
            os.kill(pid, signal.SIGKILL)
        self._processes.stop(self._name)
        _await_gone(self._cgroup)
        self._remove_cgroups()

    def meet(self, other: "Machine", own_pods: str, other_pods: str, wire: str) -> None:
        """Lays a wire between two machines, by which each reaches the other and the other's pods."""
        ours, theirs = f"{wire}a", f"{wire}b"
        ends = ["netns", str(self._first()), "type", "veth", "peer", "name", theirs]
        _run("ip", "link", "add", ours, *ends, "netns", str(other._first()))
        for machine, end, beyond, pods in (
            (self, ours, other, other_pods),
            (other, theirs, self, own_pods),
        ):
            _run(*machine.inside(["ip", "link", "set", end, "up"]))
            _run(*machine.inside(["ip", "address", "add", f"{machine.there}/32", "dev", end]))
            _run(*machine.inside(["ip", "route", "add", beyond.there, "dev", end, "src", machine.there]))
            _run(*machine.inside(["ip", "route", "add", pods, "via", beyond.there, "dev", end, "onlink"]))

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs a command in it.

        Raises:
            ClusterError: it does not run.
        """
        pid = self._first()
        if not pid:
            raise ClusterError("the node's machine does not run")
        return ["nsenter", f"--target={pid}", "--net", "--mount", "--pid", "--uts", "--", *command]

    def end(self, name: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Ends a program that was started `inside`: what this machine sees of it is only what went in."""
        if outer := self._processes.running(name):
            for inner in Path(f"/proc/{outer}/task/{outer}/children").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(inner), signal.SIGTERM)
            deadline = time.monotonic() + timeout_s
            while self._processes.running(name) and time.monotonic() < deadline:
                time.sleep(0.1)
        self._processes.stop(name)

    def environment(self, programs: Path) -> Mapping[str, str]:
        """What programs inside find others by."""
        return {"PATH": f"{programs}:{_path()}"}

    def _first(self) -> int | None:
        """Its first process, as this machine counts."""
        outer = self._processes.running(self._name)
        if outer is None:
            return None
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
            return int(children[0]) if children else None
        return None

    def _connect(self) -> None:
        """Lays the wire, which is gone with the machine."""
        _run(
            "ip",
            "link",
            "add",
            self.wire,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(self._first()),
        )
        _run("ip", "address", "add", f"{self.here}/30", "dev", self.wire)
        _run("ip", "link", "set", self.wire, "up")
        for command in (
            f"ip address add {self.there}/30 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {self.here}",
        ):
            _run(*self.inside(command.split()))

    def _hierarchies(self) -> list[Path]:
        """Where the kernel keeps cgroups: one tree, or one for each controller."""
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS]
        return [tree for tree in _CGROUPS.iterdir() if tree.is_dir() and not tree.is_symlink()]

    def _make_cgroups(self) -> None:
        for tree in self._hierarchies():
            if tree == _CGROUPS:
                controllers = (tree / "cgroup.controllers").read_text().split()
                (tree / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
            made = tree / self._cgroup
            made.mkdir(exist_ok=True)
            # Else all pods together have the share of one other process of this machine.
            for file, share in _SHARES.items():
                if (made / file).exists():
                    (made / file).write_text(str(share))

    def _remove_cgroups(self) -> None:
        for tree in self._hierarchies():
            for folder, _, _ in os.walk(tree / self._cgroup, topdown=False):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(folder)


def addresses(folder: Path) -> tuple[str, str]:
    """The two ends of the wire to the machine of a folder: ours, and its."""
    networks = _NETWORKS.num_addresses // 4
    number = zlib.crc32(str(folder.resolve()).encode()) % networks
    here, there = ipaddress.ip_network((int(_NETWORKS[0]) + number * 4, 30)).hosts()
    return str(here), str(there)


def _await_gone(cgroup: str) -> None:
    """Waits until the kernel has ended all processes of a cgroup."""
    deadline = time.monotonic() + _TIMEOUT_S
    while any(file.read_text() for file in _CGROUPS.glob(f"**/{cgroup}/**/cgroup.procs")):
        if time.monotonic() > deadline:
            raise ClusterError(f"processes in the cgroup {cgroup} do not end")
        time.sleep(0.1)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
