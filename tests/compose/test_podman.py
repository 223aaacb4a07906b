"""The Compose file runs: all of the first stage as containers, by podman, with no engine and no Kubernetes.

`make test-compose` runs this as root, in network and mount namespaces of its own: what podman does to
interfaces and iptables ends with them. Images come from this machine's store, and containers go into one of
the test's own.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge import tokens
from k8s import compose
from tests.support.waiting import eventually

EDGE = "http://127.0.0.1:8080"
MOVIE = "tt0111161"
IMAGES = Path("/var/lib/containers/storage")
HELPERS = ("/usr/lib/podman", "/usr/libexec/podman", os.environ.get("MARQUEE_PODMAN_HELPERS", ""))
# What a container may have where the machine itself gives no more.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "{runtime}"
helper_binaries_dir = {helpers}
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
STORAGE = """\
[storage]
driver = "overlay"
runroot = "{folder}/run"
graphroot = "{folder}/root"
[storage.options]
additionalimagestores = ["{images}"]
"""

_HEALTHY_S = 120.0

pytestmark = pytest.mark.timeout(1500)


class Podman:
    """podman-compose on a Compose file, with a store of its own."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._file = file
        runtime = "crun" if shutil.which("crun") else "runc"
        files = {
            "containers.conf": CONTAINERS.format(
                folder=folder, runtime=runtime, helpers=json.dumps([each for each in HELPERS if each])
            ),
            "storage.conf": STORAGE.format(folder=folder, images=IMAGES),
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def start(self) -> None:
        """Starts each service once those that it waits for are as it wants them.

        podman-compose does that too, but not with Debian 12's podman 4.3: that waits for no health, and
        starts no container that needs an ended one that needed a running one.
        """
        services = json.loads(self._file.read_text())["services"]
        started: set[str] = set()
        while len(started) < len(services):
            due = [
                name
                for name, service in services.items()
                if name not in started and started.issuperset(service.get("depends_on", {}))
            ]
            assert due, "services wait for one another"
            for name in due:
                for other, how in services[name].get("depends_on", {}).items():
                    self._await(other, how["condition"])
                self.compose("up", "--detach", "--no-deps", name)
                started.add(name)

    def _await(self, service: str, condition: str) -> None:
        container = f"marquee_{service}_1"
        if condition == "service_completed_successfully":
            code = self._run("podman", "wait", container).strip()
            assert code == "0", f"{service} ended with {code}:\n{self._run('podman', 'logs', container)}"
        elif condition == "service_healthy":
            deadline = time.monotonic() + _HEALTHY_S
            # systemd, where there is one, would ask by itself.
            while self._ran("podman", "healthcheck", "run", container).returncode:
                assert time.monotonic() < deadline, f"{service} is not healthy after {_HEALTHY_S:g} s"
                time.sleep(1)

    def compose(self, *words: str) -> str:
        return self._run("podman-compose", f"--file={self._file}", *words)

    def states(self) -> dict[str, str]:
        """Of each container: how it is, in podman's words."""
        lines = self._run("podman", "ps", "--all", "--format={{.Names}} {{.Status}}").splitlines()
        return {name: state for name, _, state in (line.partition(" ") for line in lines)}

    def _run(self, *command: str) -> str:
        done = self._ran(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def _ran(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=600, check=False
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the Compose file, and of what it mounts: containers' users must get there."""
    made = tmp_path_factory.mktemp("compose")
    for each in (made, *made.parents[:2]):
        each.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def podman(folder: Path) -> Iterator[Podman]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["k8s.compose", "--folder", str(folder)])
        compose.main()
    made = Podman(folder, folder / "compose.yaml")
    try:
        made.start()
        yield made
    finally:
        made.compose("down")


async def test_a_rating_goes_all_its_way_through_the_containers(podman: Podman, folder: Path) -> None:
    async with httpx.AsyncClient(base_url=EDGE, timeout=20) as http:

        async def ready() -> bool:
            try:
                return (await http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(ready, 300, 1)
        token = tokens.issue(folder / "secrets" / "tokens", "someone")
        rated = await http.put(
            f"/v1/users/me/ratings/{MOVIE}",
            json={"score": 9},
            headers={"authorization": f"Bearer {token}"},
        )
        assert rated.status_code == 200, rated.text

        async def counted() -> bool:
            score = await http.get(f"/v1/movies/{MOVIE}/score")
            return score.status_code == 200 and int(score.json()["votes"]) == 1

        await eventually(counted, 120, 0.5)


def test_what_prepares_has_ended_well_and_all_else_runs(podman: Podman) -> None:
    states = podman.states()
    assert len(states) > 10
    wrong = {name: state for name, state in states.items() if not state.startswith(("Up", "Exited (0)"))}
    assert wrong == {}
