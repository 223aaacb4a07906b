"""Network policies that are enforced on a real node: by kube-router, of which only that part runs."""

import shutil
from typing import Final

from k8s.cluster.control_plane import SERVICE_RANGE, built
from k8s.cluster.processes import ClusterError
from k8s.cluster.real_node import NAME, RealNode

_PROGRAM: Final = "kube-router"
_TIMEOUT_S: Final = 120.0
_CLEAN: Final = """
iptables-save -t filter | grep -vE 'KUBE-(ROUTER|NWPLCY|POD-FW)' | iptables-restore -T filter
ipset destroy
"""


def missing() -> str:
    """What this machine lacks for it, as a sentence; empty if nothing."""
    there = shutil.which("ipset", path="/usr/sbin:/sbin:/usr/bin:/bin")
    return "" if there else "enforced network policies need one more package: apt-get install ipset"


def enforce(node: RealNode) -> None:
    """Starts it, and waits until its rules are there.

    Raises:
        ClusterError: it can't run here.
    """
    if lack := missing():
        raise ClusterError(lack)
    program = built("policies") / _PROGRAM
    processes = node.cluster.processes
    command = [
        str(program),
        *("--run-firewall", "--run-router=false", "--run-service-proxy=false"),
        f"--kubeconfig={node.cluster.kubeconfig}",
        f"--hostname-override={NAME}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # What was missed is made good in seconds.
        "--iptables-sync-period=15s",
        "--health-port=0",
    ]
    processes.start(_PROGRAM, node.machine.inside(command), node.machine.environment(program.parent))
    processes.await_true(_PROGRAM, lambda: "KUBE-POD-FW" in rules(node), "policies' rules", _TIMEOUT_S)


def stop(node: RealNode) -> None:
    """Ends it, and takes its rules away."""
    node.machine.end(_PROGRAM)
    # Its own `--cleanup-config` also wants to undo what it was never asked to do here.
    node.cluster.processes.run(node.machine.inside(["sh", "-ec", _CLEAN]), _TIMEOUT_S)


def rules(node: RealNode) -> str:
    """The node's rules of iptables for what it passes on."""
    return node.cluster.processes.run(node.machine.inside(["iptables-save", "-t", "filter"]), 30)
