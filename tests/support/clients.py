"""Clients of the stores, made as the services make them: the same protocol, time-outs and decoding.

What Redis answers depends on the protocol, so a client of another kind would test another program.
"""

import redis.asyncio as redis

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import redisdb
from mesh.config import load


def redis_of(stack: Stack, service: str) -> "redis.Redis":
    """The client of a service, with its credentials."""
    return redisdb.connect(load(redisdb.RedisConfig, stores(stack, service)))


async def delete_keys(stack: Stack, service: str, pattern: str) -> None:
    """Deletes the keys that match, as a service that may see them."""
    client = redis_of(stack, service)
    async for key in client.scan_iter(pattern, count=1000):
        await client.delete(key)
    await client.aclose()
