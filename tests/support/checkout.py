"""A copy of this checkout, in which tests change the code, with stubs and an edge of its own."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from edge import tokens
from tests.support.edge.mesh import envoy_command
from tests.support.ports import free_port
from tests.support.tutorials import Step

ROOT: Final = Path(__file__).resolve().parents[2]
_READY_S: Final = 60.0


@dataclass
class Checkout:
    """The copy. `stubs` come first where its code looks for packages."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """Copies what is under version control, and what is not yet."""
        skipped = shutil.ignore_patterns(".*", "__pycache__", "build", "node_modules")
        shutil.copytree(ROOT, folder, ignore=skipped)
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """That of a process that runs the copy's code, from whatever folder but the original's."""
        path = os.pathsep.join([str(self.folder), str(self.folder / "stubs")])
        return {**os.environ, "PYTHONPATH": path}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs Python in the copy."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def says(self, *words: str) -> str:
        """What a program prints that must end well."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make_stubs(self) -> None:
        """What `make protos` does, into the copy instead of the environment that all share."""
        shutil.rmtree(self.folder / "stubs", ignore_errors=True)
        pip = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation")
        self.says(*pip, "--target", "stubs", "./protos")

    def check_style(self, steps: Sequence[Step]) -> None:
        """Refuses Python and protos that steps have written, if they are not in the house's style."""
        touched = sorted({step.file for step in steps if step.file.endswith(".py")})
        self.says("-m", "ruff", "check", "--no-cache", *touched)
        self.says("-m", "ruff", "format", "--no-cache", "--check", *touched)
        self.says("protos/check.py")


@dataclass
class CopysEdge:
    """Envoy as the copy's contract and table of RPCs configure it."""

    folder: Path
    http: httpx.Client = field(repr=False)

    def call(self, method: str, path: str, user: str = "", **more: Any) -> httpx.Response:
        """An HTTP call, with a token of the development issuer if a user is named."""
        headers = {"authorization": f"Bearer {tokens.issue(self.folder / 'keys', user)}"} if user else {}
        return self.http.request(method, path, headers=headers, **more)


@contextlib.contextmanager
def edge_of(
    checkout: Checkout, instances: Mapping[str, str], folder: Path, *options: str
) -> Iterator[CopysEdge]:
    """An edge before some of the copy's services; nobody answers for the others.

    Args:
        checkout: whose configuration it has.
        instances: addresses by service.
        folder: for what Envoy reads and writes.
        options: more of edge.render's.
    """
    port = free_port()
    addresses = [f"--{name.removesuffix('_svc')}={address}" for name, address in instances.items()]
    checkout.says(
        *("-m", "edge.render", f"--out={folder / 'envoy'}", f"--access-log={folder / 'access.log'}"),
        *(f"--edge-port={port}", f"--admin-port={free_port()}", f"--service-port={free_port()}"),
        *(f"--jwks={tokens.ensure_keys(folder / 'keys')}", *addresses, *options),
    )
    with (
        _started(envoy_command(folder / "envoy"), folder / "envoy.log") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
    ):
        _await_edge(http, process, folder / "envoy.log")
        yield CopysEdge(folder, http)


@contextlib.contextmanager
def _started(command: Sequence[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _await_edge(http: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Envoy ended: {log.read_text()[-3000:]}"
        with contextlib.suppress(httpx.TransportError):
            if http.get("/healthz").status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise AssertionError(f"the edge did not answer within {_READY_S:g} s: {log.read_text()[-3000:]}")
