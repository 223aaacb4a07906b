"""`python -m k8s.demo up|verify|down`: the mesh on a real Kubernetes, with ratings and a checked chart.

`up` finds or builds a cluster, builds the images and brings them there, applies a stage's overlay, loads
the ratings through the edge and compares the chart with a recount. It leaves all running; `down` removes it.
`verify` is `marquee verify` there.
"""

import argparse
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from k8s import place as places
from k8s.cluster.processes import ClusterError
from k8s.place import Place, forwarded
from local.commands import admin, demo
from local.commands.loading import Way
from local.stack.layout import Home, Stack, StackError, default_home

_ROOT: Final = Path(__file__).parents[1]
_IMAGES: Final = tuple(f"localhost/{name}:dev" for name in ("marquee", "marquee-edge", "marquee-stores"))
_NAMESPACE: Final = "marquee"
_EDGE_PORT: Final = 8080
_GRPC_PORT: Final = 50051
_COMMAND_TIMEOUT_S: Final = 300.0


def run(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m k8s.demo", description=__doc__)
    parser.add_argument("--home", type=Path, default=default_home().root / "k8s", help="its folder")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="brings the mesh to a cluster, loads ratings, checks the chart")
    up.add_argument("--overlay", default="early", help="which stage of k8s/overlays")
    up.add_argument("--data", type=Path, help="the folder of MovieLens' files")
    up.add_argument("--batch", action="store_true", help="load with :batchRate alone")
    up.add_argument("--limit", type=int, default=0, help="only so many ratings")
    verify = commands.add_parser("verify", help="compares the aggregates with a recount of all ratings")
    verify.add_argument("--repair", action="store_true", help="sets what differs to what the recount says")
    commands.add_parser("down", help="removes the mesh, and the cluster if it is this machine's own")
    given = parser.parse_args(arguments)
    if given.command == "down":
        return _down(given.home)
    if given.command == "verify":
        return _verify(given.home, repair=given.repair)
    place = places.choose(given.home)
    bring(place, given.home, given.overlay)
    with mesh(place, given.home) as stack:
        way = Way.BATCH if given.batch else Way.BOTH
        return demo.run(stack, given.data, limit=given.limit, way=way, place=of(place))


def of(place: Place) -> demo.Place:
    """What the demo has to know of the mesh on a cluster."""
    return demo.Place(_in_pod(place), _next_steps(place))


def _down(home: Path) -> int:
    place = places.chosen(home)
    if place is None:
        _say(f"nothing was made: there is no {home}")
        return 0
    place.remove()
    shutil.rmtree(secrets_folder(home), ignore_errors=True)
    places.forget(home)
    _say(f"removed from {place.name}")
    return 0


def _verify(home: Path, *, repair: bool) -> int:
    place = places.chosen(home)
    if place is None:
        raise ClusterError(f"there is no mesh of {home}: `make k8s` makes one")
    with mesh(place, home) as stack:
        answer = admin.reconcile(stack, repair=repair)
    print(f"compared {answer.compared} movies: {answer.differing} differ, {answer.repaired} repaired")
    return 0 if answer.differing == answer.repaired else 1


def bring(place: Place, home: Path, overlay: str) -> None:
    """Makes the cluster ready and brings the overlay there."""
    began = time.monotonic()

    def say(what: str) -> None:
        _say(f"{what} ({time.monotonic() - began:.0f} s)")

    place.start()
    say(f"{place.name} is ready")
    renewed = bring_images(place)
    say("the images are there")
    # The tag is the same: what runs already does not see by itself that there is another image behind it.
    older = _kubectl(place, "get", "deployments", "--output=name").split() if renewed else []
    subprocess.run(
        [str(_ROOT / "k8s" / "deploy.sh"), overlay],
        env={
            **os.environ,
            "KUBECTL": " ".join(place.kubectl),
            "MARQUEE_SECRETS": str(secrets_folder(home)),
        },
        check=True,
    )
    for each in older:
        _kubectl(place, "rollout", "restart", each)
    for each in older:
        _kubectl(place, "rollout", "status", each, "--timeout=280s")
    say(f"the overlay {overlay} is there, and all of it is ready")


def bring_images(place: Place) -> bool:
    """Builds the images and makes those that are new known to the cluster; returns whether there were any."""
    folder = place.folder / "images"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(_ROOT / "k8s" / "images" / "build.sh")], check=True, stdout=sys.stderr)
    known = folder / "known.json"
    before: dict[str, str] = json.loads(known.read_text()) if known.exists() else {}
    built = {reference: _image_id(reference) for reference in _IMAGES}
    archives = {
        reference: folder / f"{reference.partition('/')[2].replace(':', '-')}.tar"
        for reference in _IMAGES
        if before.get(reference) != built[reference]
    }
    try:
        for reference, archive in archives.items():
            _save(reference, archive)
        place.add_images(archives)
    finally:
        for archive in archives.values():
            archive.unlink(missing_ok=True)
    known.write_text(json.dumps(built, indent=1))
    return bool(archives)


def _kubectl(place: Place, *arguments: str) -> str:
    return _output(*place.kubectl, f"--namespace={_NAMESPACE}", *arguments)


@contextlib.contextmanager
def mesh(place: Place, home: Path) -> Iterator[Stack]:
    """The mesh on a cluster as a stack: the edge, and what operators call, by addresses from here."""
    with contextlib.ExitStack() as ways:

        def way(target: str, port: int) -> int:
            return ways.enter_context(forwarded(place.kubectl, f"deployment/{target}", port))

        host, edge_port = place.edge or ("127.0.0.1", way("edge", _EDGE_PORT))
        ports = {
            "envoy/edge": edge_port,
            "rating_svc/grpc": way("rating-svc", _GRPC_PORT),
            "ranking_svc/grpc": way("ranking-svc", _GRPC_PORT),
        }
        yield Stack(Home(secrets_folder(home)), ports, hosts={"envoy": host})


def secrets_folder(home: Path) -> Path:
    """Where the passwords, certificates and the issuer's keys are kept."""
    return home / "secrets"


def _in_pod(place: Place) -> Callable[[Stack, str, Mapping[str, Path]], subprocess.CompletedProcess[str]]:
    """How movie_svc's own commands are run where its stores are: in one of its pods."""
    execute = [*place.kubectl, "exec", f"--namespace={_NAMESPACE}", "--stdin", "deployment/movie-svc", "--"]

    def movie_svc(_stack: Stack, command: str, files: Mapping[str, Path]) -> subprocess.CompletedProcess[str]:
        words = []
        for option, file in files.items():
            there = f"/tmp/{file.name}"  # noqa: S108 - in the pod
            with file.open("rb") as content:
                subprocess.run(
                    [*execute, "sh", "-c", f"cat > {there}"],
                    stdin=content,
                    check=True,
                    timeout=_COMMAND_TIMEOUT_S,
                )
            words.append(f"{option}={there}" if option else there)
        return subprocess.run(
            [*execute, "python", "-m", "movie_svc", command, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
        )

    return movie_svc


def _next_steps(place: Place) -> Callable[[Stack, str], str]:
    kubectl = " ".join(place.kubectl)

    def steps(stack: Stack, movie: str) -> str:
        token = f"{sys.executable} -m edge.tokens issue --dir={stack.home.tokens} --subject alice"
        reach = (
            "" if place.edge else f"\nFirst:  {kubectl} -n {_NAMESPACE} port-forward service/edge 8080:80\n"
        )
        return (
            f"{reach}{demo.calls_to_try(stack, movie, token)}\n\n"
            f"Look: {kubectl} -n {_NAMESPACE} get pods\nStop: make k8s-down"
        )

    return steps


def _image_id(reference: str) -> str:
    if _has_docker():
        return _output("docker", "image", "inspect", "--format={{.Id}}", reference)
    return _output("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", reference)


def _save(reference: str, archive: Path) -> None:
    archive.unlink(missing_ok=True)
    if _has_docker():
        _output("docker", "save", "--output", str(archive), reference)
    else:
        _output("buildah", "push", "--quiet", reference, f"docker-archive:{archive}:{reference}")


@functools.cache
def _has_docker() -> bool:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
    return False


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _say(text: str) -> None:
    print(f"k8s: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        raise SystemExit(run(sys.argv[1:]))
    except (ClusterError, StackError) as error:
        raise SystemExit(f"k8s: {error}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"k8s: {Path(error.cmd[0]).name} failed: see above") from None
