"""The first stage on a node that runs its pods: the chart is right, and a release costs no call."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge import tokens
from k8s import demo
from k8s.cluster import machine
from k8s.place import OwnCluster
from local.commands import demo as demonstration
from local.commands.movielens import open_dataset
from local.stack.layout import Stack

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.node,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(machine.missing()), reason=machine.missing() or "all is there"),
]

RATINGS = 2_000
SERVICES = ("movie-svc", "rating-svc", "ranking-svc")


class Mesh:
    """The mesh on its cluster."""

    def __init__(self, place: OwnCluster, home: Path, stack: Stack) -> None:
        self.place = place
        self.home = home
        self.stack = stack

    def kubectl(self, *arguments: str, timeout_s: float = 60) -> str:
        return self.place.node.cluster.kubectl("--namespace=marquee", *arguments, timeout_s=timeout_s)

    def restart(self, deployment: str) -> None:
        """Brings a release: every pod is replaced by another."""
        self.kubectl("rollout", "restart", f"deployment/{deployment}")
        wait = ("rollout", "status", f"deployment/{deployment}", "--timeout=170s")
        self.kubectl(*wait, timeout_s=180)


class Calls:
    """Reads and writes one after the other, while something else happens; each must be answered with 200."""

    def __init__(self, stack: Stack, user: str, movie: str) -> None:
        self._stack = stack
        self._user, self._movie = user, movie
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.failed: list[str] = []
        self.taken = 0
        self.last_score = 0

    def __enter__(self) -> "Calls":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        token = tokens.issue(self._stack.home.tokens, self._user, (), 3600, "partner")
        headers = {"Authorization": f"Bearer {token}"}
        own = f"/v1/users/me/ratings/{self._movie}"
        with httpx.Client(base_url=self._stack.edge_url, headers=headers, timeout=10) as client:
            while not self._stop.wait(0.02):
                score = self.answered % 10 + 1
                for method, path, body in (
                    ("PUT", own, {"score": score}),
                    ("GET", own, None),
                    ("GET", f"/v1/movies/{self._movie}", None),
                    ("GET", f"/v1/movies/{self._movie}/score", None),
                ):
                    try:
                        answer = client.request(method, path, json=body)
                    except httpx.HTTPError as error:
                        self.failed.append(f"{method} {path}: {error!r}")
                        continue
                    if answer.status_code != 200:
                        self.failed.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
                    elif method == "PUT":
                        self.taken += 1
                        self.last_score = score
                self.answered += 1


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("mesh")
    place = OwnCluster(home / "cluster")
    try:
        demo.bring(place, home, "early")
        with demo.mesh(place, home) as stack:
            yield Mesh(place, home, stack)
    finally:
        place.node.down()


def test_the_chart_of_ratings_loaded_through_the_edge_is_that_of_a_recount(mesh: Mesh) -> None:
    code = demonstration.run(mesh.stack, None, limit=RATINGS, place=demo.of(mesh.place))
    assert code == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_release_costs_no_call(mesh: Mesh, service: str) -> None:
    movie = open_dataset(None, RATINGS).ratings[0].movie
    with Calls(mesh.stack, f"reader-of-{service}", movie) as calls:
        mesh.restart(service)
    assert calls.failed == []
    assert calls.answered > 10


def test_a_killed_pod_takes_no_rating_with_it(mesh: Mesh) -> None:
    movie = open_dataset(None, RATINGS).ratings[0].movie
    with Calls(mesh.stack, "writer", movie) as calls:
        for service in ("rating-worker", "rating-svc"):
            pods = f"--selector=app.kubernetes.io/name={service}"
            mesh.kubectl("delete", "pod", pods, "--grace-period=0", "--force")
            mesh.kubectl("rollout", "status", f"deployment/{service}", "--timeout=100s", timeout_s=110)
            # The next answers come from the new pod, and what the old one left unsaid is overwritten.
            before = calls.taken
            deadline = time.monotonic() + 60
            while calls.taken < before + 5:
                assert time.monotonic() < deadline, calls.failed[-3:]
                time.sleep(0.2)
    # One of each: calls fail while it is away. What was answered is there.
    token = tokens.issue(mesh.stack.home.tokens, "writer", (), 3600, "partner")
    answer = httpx.get(
        f"{mesh.stack.edge_url}/v1/users/me/ratings/{movie}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    assert answer.json()["score"] == calls.last_score
