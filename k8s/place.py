"""Where `make k8s` puts the mesh: a cluster of this machine's own, or the one that kubectl is set to."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from k8s.cluster.processes import ClusterError
from k8s.cluster.real_node import RealNode

CHOSEN: Final = "MARQUEE_K8S_CONTEXT"
OWN: Final = "own"
NODE_PORT: Final = 30080
_IMAGES_TIMEOUT_S: Final = 600.0


class Place(Protocol):
    """A cluster that the mesh can be brought to."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def kubectl(self) -> Sequence[str]:
        """The command line that kubectl's arguments are added to."""

    @property
    def edge(self) -> tuple[str, int] | None:
        """Host and port of the edge, if it can be reached without kubectl's help."""

    @property
    def folder(self) -> Path:
        """What is known of it, as long as it is there."""

    def start(self) -> None:
        """Makes the cluster ready."""

    def add_images(self, archives: dict[str, Path]) -> None:
        """Makes images known to it: archives as `docker save` writes them, by the image's reference."""

    def remove(self) -> None:
        """Takes away what `start` and the mesh have made."""


class OwnCluster:
    """A control plane and one node on this machine."""

    def __init__(self, folder: Path) -> None:
        self.name = "a cluster of its own on this machine"
        self.folder = folder
        self.node = RealNode(folder)
        cluster = self.node.cluster
        self.kubectl = [
            *(str(cluster.programs / "controlplane"), "kubectl"),
            *("--kubeconfig", str(cluster.kubeconfig)),
        ]
        self.edge = (self.node.machine.there, NODE_PORT)

    def start(self) -> None:
        self.node.up()

    def add_images(self, archives: dict[str, Path]) -> None:
        for archive in archives.values():
            self.node.add(archive)

    def remove(self) -> None:
        self.node.down()
        shutil.rmtree(self.folder)


class GivenCluster:
    """The cluster of one of kubectl's contexts."""

    edge = None

    def __init__(self, folder: Path, context: str) -> None:
        self.name = f"the cluster of kubectl's context {context}"
        self._context = context
        self.folder = folder
        self.kubectl = ["kubectl", "--context", context]

    def start(self) -> None:
        _run([*self.kubectl, "get", "--raw", "/readyz", "--request-timeout=10s"], 20)

    def add_images(self, archives: dict[str, Path]) -> None:
        if self._context.startswith("kind-"):
            load = ["kind", "load", "image-archive", "--name", self._context.removeprefix("kind-")]
        elif self._context.startswith("minikube"):
            load = ["minikube", "image", "load", "--profile", self._context]
        else:
            names = ", ".join(archives)
            print(f"k8s: the nodes of {self.name} must find these images: {names}", file=sys.stderr)
            return
        for archive in archives.values():
            _run([*load, str(archive)], _IMAGES_TIMEOUT_S)

    def remove(self) -> None:
        _run([*self.kubectl, "delete", "namespace", "marquee", "--ignore-not-found", "--timeout=300s"], 320)
        shutil.rmtree(self.folder, ignore_errors=True)


def choose(home: Path) -> Place:
    """The cluster to use: the one of kubectl's context if its owner says so, else one of this machine's own.

    The choice holds until `forget`. MARQUEE_K8S_CONTEXT names a context, or `own`, and spares the question.
    """
    kept = _choice(home)
    chosen = kept.read_text() if kept.exists() else os.environ.get(CHOSEN) or _ask(_current_context())
    home.mkdir(parents=True, exist_ok=True)
    kept.write_text(chosen)
    return _place(home, chosen)


def chosen(home: Path) -> Place | None:
    """The cluster that was chosen, if one was."""
    kept = _choice(home)
    return _place(home, kept.read_text()) if kept.exists() else None


def forget(home: Path) -> None:
    """Lets `choose` ask again."""
    _choice(home).unlink(missing_ok=True)


def _choice(home: Path) -> Path:
    return home / "context"


def _place(home: Path, chosen: str) -> Place:
    return OwnCluster(home / "cluster") if chosen == OWN else GivenCluster(home / "given", chosen)


def _current_context() -> str:
    """kubectl's, or nothing."""
    if not shutil.which("kubectl"):
        return ""
    done = subprocess.run(
        ["kubectl", "config", "current-context"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _ask(context: str) -> str:
    """Never anybody's cluster without a yes."""
    if not context:
        return OWN
    question = (
        f"kubectl is set to the context {context}. Bring Marquee there, to the namespace marquee? [y/N] "
    )
    if not sys.stdin.isatty():
        print(
            f"k8s: {question.partition('?')[0]}? Not without {CHOSEN}={context}; a cluster of its own then."
        )
        return OWN
    return context if input(question).strip().lower() in ("y", "yes") else OWN


@contextlib.contextmanager
def forwarded(kubectl: Sequence[str], target: str, port: int) -> Iterator[int]:
    """Makes a port of a pod reachable on this machine's loopback, for as long as the block lasts.

    Raises:
        ClusterError: it can't be reached.
    """
    command = [*kubectl, "port-forward", "--namespace=marquee", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            # "Forwarding from 127.0.0.1:40373 -> 50051"
            first = process.stdout.readline() if process.stdout else ""
            _, found, rest = first.partition("127.0.0.1:")
            if not found:
                process.terminate()
                wrong = process.stderr.read() if process.stderr else ""
                raise ClusterError(f"kubectl port-forward {target}: {wrong.strip() or first}")
            yield int(rest.split()[0])
        finally:
            process.terminate()


def _run(command: Sequence[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise ClusterError(f"there is no {command[0]} on PATH") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(command)}: no end in {timeout_s:.0f} s") from None
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
