"""`python -m k8s.cluster up|down|status|kubectl`: a cluster of its own, in `.marquee/kubernetes`."""

import argparse
import os
import sys
from pathlib import Path

from k8s.cluster import fake_nodes
from k8s.cluster.control_plane import Cluster
from k8s.cluster.processes import ClusterError
from local.stack.layout import default_home


def run(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m k8s.cluster", description=__doc__)
    parser.add_argument("--home", type=Path, default=default_home().root / "kubernetes", help="its folder")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="starts it with nine nodes in three zones, and says how to use it")
    commands.add_parser("down", help="stops it; its state stays")
    commands.add_parser("status", help="says what runs")
    commands.add_parser("kubectl", help="runs kubectl on it").add_argument("rest", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    cluster = Cluster(given.home)
    if given.command == "up":
        cluster.up()
        fake_nodes.start(cluster)
        print(f"{fake_nodes.ready(cluster)} nodes are ready; export KUBECONFIG={cluster.kubeconfig}")
    elif given.command == "down":
        cluster.down()
    elif given.command == "status":
        for name in cluster.processes.names():
            print(f"{name:26} {cluster.processes.running(name) or 'has ended'}")
    else:
        program = str(cluster.programs / "controlplane")
        kubectl = ["kubectl", "--kubeconfig", str(cluster.kubeconfig), *given.rest]
        os.execv(program, [program, *kubectl])  # noqa: S606 - kubectl takes this process's place


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except ClusterError as error:
        raise SystemExit(f"k8s.cluster: {error}") from None
