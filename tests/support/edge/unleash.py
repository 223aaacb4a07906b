"""A real Unleash server: from npm, on Node from a wheel, in a database of the stack's PostgreSQL."""

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from tests.support import node
from tests.support.ports import free_port

VERSION = "8.2.0"
# What it depends on is taken as it was on that day.
DAY = "2026-11-20"
ADMIN = "*:*.unleash-admin-for-tests"
CLIENT = "default:development.unleash-client-for-tests"
_FEATURES = "/api/admin/projects/default/features"


def install() -> tuple[Path, Path]:
    """Node and the folder of the server's package, downloaded once a user.

    Raises:
        subprocess.SubprocessError: they can't be had; what failed is on stderr.
    """
    return Path(node.node().program), node.package("unleash-server", VERSION, DAY)


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
    program, package = install()
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
            ["setpriv", "--pdeathsig=SIGTERM", "--", str(program), str(package / "dist" / "server.js")],
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
