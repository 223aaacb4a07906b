"""Commands of many callers to a real Redis, by the one connection that is kept."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis
from redis.exceptions import ResponseError

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import redisdb
from mesh.pipe import Pipe, RedisAway, Script
from mesh.redisdb import RedisConfig
from tests.support.proxy import proxied

LARGE = 2_000_000


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator["redis.Redis"]:
    made = redisdb.connect(RedisConfig(url=stores(stack, "rating_svc")["MARQUEE_REDIS_URL"], timeout_s=10))
    yield made
    await made.aclose()


@pytest.fixture
def key() -> str:
    return f"rating:{uuid.uuid4()}"


async def test_each_gets_the_answer_to_its_own_command_whatever_the_answer_is(
    client: "redis.Redis", key: str
) -> None:
    pipe = Pipe(client, 60)
    await pipe.call("HSET", key, "long", "x" * LARGE, "ü".encode(), 7)
    answers = await asyncio.gather(
        pipe.call("HGET", key, "ü"),
        pipe.call("HGET", key, "none"),
        pipe.call("HGET", key, "long"),  # comes in many pieces
        pipe.call("HGETALL", key),
        pipe.call("INCR", key),  # refused: it is a hash
        pipe.call("MGET", f"{key}:a", f"{key}:b"),
        pipe.call("HLEN", key),
        return_exceptions=True,
    )
    assert isinstance(answers[4], ResponseError)
    assert "WRONGTYPE" in str(answers[4])
    long = b"x" * LARGE
    expected = [b"7", None, long, {b"long": long, "ü".encode(): b"7"}, answers[4], [None, None], 2]
    assert answers == expected


async def test_a_script_that_redis_has_not_seen_is_sent_to_it(client: "redis.Redis", key: str) -> None:
    pipe = Pipe(client, 60)
    script = Script(f"redis.call('SET', KEYS[1], ARGV[1]) return '{uuid.uuid4()}' .. ARGV[1]")
    for number in (1, 2):
        assert (await pipe.run(script, [key], [number])).endswith(str(number).encode())
    assert await pipe.call("GET", key) == b"2"


async def test_a_connection_that_was_closed_is_replaced_and_nobody_notices(stack: Stack, key: str) -> None:
    port = stack.port("redis", "redis")
    async with proxied(port) as proxy:
        url = stores(stack, "rating_svc")["MARQUEE_REDIS_URL"].replace(f":{port}", f":{proxy.port}")
        client = redisdb.connect(RedisConfig(url=url, timeout_s=10))
        try:
            pipe = Pipe(client, 60)
            for number in range(1, 4):
                assert await pipe.call("INCR", key) == number
                proxy.cut()
        finally:
            await client.aclose()


async def test_a_redis_that_hangs_is_given_up_after_the_time_out_and_found_again(
    stack: Stack, key: str
) -> None:
    port = stack.port("redis", "redis")
    async with proxied(port) as proxy:
        url = stores(stack, "rating_svc")["MARQUEE_REDIS_URL"].replace(f":{port}", f":{proxy.port}")
        client = redisdb.connect(RedisConfig(url=url, timeout_s=0.2))
        try:
            pipe = Pipe(client, 0.05)
            assert await pipe.call("INCR", key) == 1
            proxy.hold()
            with pytest.raises(RedisAway):
                await pipe.call("GET", key)
            proxy.let_go()
            await asyncio.sleep(0.1)  # the pause
            # What was asked before and is answered late must not be taken for this.
            assert await pipe.call("INCR", key) == 2
        finally:
            await client.aclose()
