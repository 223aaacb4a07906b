"""A master of Redis, two replicas and three sentinels, which can be killed and frozen."""

import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from local.servers.redis_server import binary
from local.stack.layout import HOST, Home, Stack, write_private
from local.stack.provision import REDIS_ADMIN, redis_acl
from mesh import redisdb
from mesh.redisdb import RedisConfig
from tests.support.ports import free_port
from tests.support.waiting import eventually

DOWN_AFTER_S = 1.5
"""After how long of silence the sentinels look for another master: as in `marquee up --cluster`."""

_MASTER = "marquee"


class Sentinels:
    """The servers by port, the first master first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = Stack(Home(folder), {})
        self.servers = [free_port() for _ in range(3)]
        self.sentinels = [free_port() for _ in range(3)]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._admin = self._stack.secrets.get(f"redis/{REDIS_ADMIN}")

    def config(self, user: str, *, timeout_s: float = 0.25) -> RedisConfig:
        """How a service of that user is configured."""
        return RedisConfig(
            url=f"redis://{user}:{self._stack.secrets.get(f'redis/{user}')}@nowhere.invalid:1/0",
            timeout_s=timeout_s,
            sentinels=tuple(f"{HOST}:{port}" for port in self.sentinels),
        )

    def start(self) -> None:
        acl = self._folder / "redis.acl"
        write_private(acl, redis_acl(self._stack))
        for port in self.servers:
            lines = [
                f"aclfile {acl}",
                "save ''",
                f"masteruser {REDIS_ADMIN}",
                f"masterauth {self._admin}",
                "repl-diskless-sync-delay 0",
                "min-replicas-to-write 1",
                "min-replicas-max-lag 3",
            ]
            if port != self.servers[0]:
                lines.append(f"replicaof {HOST} {self.servers[0]}")
            self._run(port, lines)
        for port in self.sentinels:
            lines = [
                f"sentinel monitor {_MASTER} {HOST} {self.servers[0]} 2",
                f"sentinel down-after-milliseconds {_MASTER} {int(DOWN_AFTER_S * 1000)}",
                f"sentinel failover-timeout {_MASTER} 5000",
                f"sentinel auth-user {_MASTER} {REDIS_ADMIN}",
                f"sentinel auth-pass {_MASTER} {self._admin}",
            ]
            self._run(port, lines, "--sentinel")

    def _run(self, port: int, lines: list[str], *options: str) -> None:
        file = self._folder / f"{port}.conf"
        file.write_text("\n".join([f"bind {HOST}", f"port {port}", f"dir {self._folder}", *lines, ""]))
        with (self._folder / f"{port}.log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                ["setpriv", "--pdeathsig=SIGKILL", "--", str(binary()), str(file), *options],
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    async def ready(self) -> None:
        """Waits until every sentinel knows the replicas and the other sentinels."""
        await eventually(self._know_each_other, 60)

    async def _know_each_other(self) -> bool:
        for port in self.sentinels:
            told = await self._ask(port)
            if told.get("num-slaves") != "2" or told.get("num-other-sentinels") != "2":
                return False
            if told.get("flags") != "master":
                return False
        return True

    async def _ask(self, port: int) -> Mapping[str, str]:
        config = redisdb.RedisConfig(url=f"redis://{HOST}:{port}/0", timeout_s=1)
        async with redisdb.connect(config, decode=True) as client:
            try:
                ask: Any = client.execute_command
                found: Mapping[str, str] = await ask("SENTINEL", "MASTER", _MASTER)
            except redisdb.AWAY:
                return {}
        return found


@asynccontextmanager
async def running_sentinels(folder: Path) -> AsyncIterator[Sentinels]:
    """All of them, ready."""
    made = Sentinels(folder)
    made.start()
    try:
        await made.ready()
        yield made
    finally:
        made.stop()
