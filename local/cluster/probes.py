"""Is a store's server ready, and which role does it have? An exception is a no."""

import asyncio
import json
import time
from typing import Final

from local.servers import kafka_server
from local.servers.probes import TIMEOUT_S, ask, http, redis_url
from local.servers.redis_server import MASTER
from local.stack.layout import Stack, StackError
from local.stack.provision import SUPERUSER

_LEADS: Final = ("leader", "master", "primary", "standby_leader")
_NAMED_S: Final = 60.0
_PAUSE_S: Final = 0.2


async def etcd(stack: Stack, name: str) -> None:
    """It is in a cluster that has a leader."""
    health = json.loads(await http(stack.port(name, "client"), "/health"))
    if health.get("health") != "true":
        raise StackError("its cluster has no leader")


async def etcd_role(stack: Stack, name: str) -> str:
    """Whether it leads, as it says of itself."""
    text = (await http(stack.port(name, "client"), "/metrics")).decode()
    return "leader" if "\netcd_server_is_leader 1\n" in text else "follower"


async def postgres(stack: Stack, name: str) -> None:
    """Patroni's server leads, or follows closely."""
    await http(stack.port(name, "rest"), "/readiness")


async def postgres_role(stack: Stack, name: str) -> str:
    """What Patroni says that it is."""
    told = json.loads(await http(stack.port(name, "rest"), "/health"))
    if told["role"] in _LEADS:
        return "leader"
    return "sync standby" if told.get("sync_standby") else "replica"


async def await_sync_standby(stack: Stack, timeout_s: float = _NAMED_S) -> None:
    """Waits until Patroni has named the standby that every commit waits for.

    Until then the primary answers alone, and what it answered would be lost with it. Patroni names one some
    seconds after the standbys stream.

    Raises:
        StackError: none was named within `timeout_s`; it says what each server is.
    """
    names = stack.names("postgres")
    deadline = time.monotonic() + timeout_s
    while len(names) > 1:
        roles = await asyncio.gather(*(_told(stack, name) for name in names))
        if "leader" in roles and "sync standby" in roles:
            return
        if time.monotonic() > deadline:
            told = ", ".join(f"{name}: {role}" for name, role in zip(names, roles, strict=True))
            raise StackError(f"no synchronous standby was named within {timeout_s:g} s ({told})")
        await asyncio.sleep(_PAUSE_S)


async def _told(stack: Stack, name: str) -> str:
    """Its role, or why it does not tell."""
    found = ""

    async def learn(stack: Stack, name: str) -> None:
        nonlocal found
        found = await postgres_role(stack, name)

    return await ask(learn, stack, name) or found


async def proxy(stack: Stack, name: str) -> None:
    """Through it, the primary takes writes."""
    import asyncpg

    dsn = stack.dsn_at(stack.address(name, "primary"), SUPERUSER, "postgres")
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
    try:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise StackError("it leads to a server in recovery")
    finally:
        await connection.close(timeout=1)


async def redis(stack: Stack, name: str) -> None:
    """It is the master, or has caught up with it."""
    if await redis_role(stack, name) == "not in sync":
        raise StackError("it is not in sync with the master")


async def redis_role(stack: Stack, name: str) -> str:
    """What it says of itself."""
    from mesh import redisdb

    config = redisdb.RedisConfig(url=redis_url(stack, name), timeout_s=TIMEOUT_S)
    async with redisdb.connect(config, decode=True) as client:
        told = await client.info("replication")
    if told["role"] == "master":
        return "master"
    return "replica" if told["master_link_status"] == "up" else "not in sync"


async def kafka_role(stack: Stack, name: str) -> str:
    """Whether it is the active controller, or a broker alone."""
    return "controller" if kafka_server.controller(stack) == name else "broker"


async def sentinel(stack: Stack, name: str) -> None:
    """It knows enough others to replace the master."""
    from mesh import redisdb

    config = redisdb.RedisConfig(url=f"redis://{stack.address(name, 'sentinel')}", timeout_s=TIMEOUT_S)
    async with redisdb.connect(config) as client:
        # An error if it is not so. The client's own call for this takes every answer for a no.
        await client.execute_command("SENTINEL", "CKQUORUM", MASTER)  # type: ignore[no-untyped-call]
