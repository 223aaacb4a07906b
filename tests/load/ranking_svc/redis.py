"""What a page and a rank would cost from Redis sorted sets: the road not taken (docs/decisions/0031).

    python -m tests.load.ranking_svc.redis [--movies 100000] [--calls 5000]

A page is the first 20 of a sorted set and their ready lines, one MGET; a rank
is a ZREVRANK. CPU is this process's and Redis's, with redis-py and hiredis as in
the services. `python -m tests.load.ranking_svc.reads` has the whole call from memory,
gRPC included.
"""

import argparse
import asyncio
import random
import time

from local.commands import usage
from local.stack.provision import REDIS_ADMIN
from mesh import redisdb
from tests.load.ranking_svc.rig import stores
from tests.support.parts import pid_of

_LINE = b"x" * 120


async def main(url: str, pid: int, movies: int, calls: int) -> None:
    client = redisdb.connect(redisdb.RedisConfig(url=url, timeout_s=5.0))
    dice = random.Random(1)
    for start in range(0, movies, 5000):
        part = range(start, min(start + 5000, movies))
        await client.zadd("ranking:top", {str(movie): dice.random() * 10 for movie in part})
        await client.mset({f"ranking:line:{movie}": _LINE for movie in part})

    async def page() -> None:
        found = await client.zrange("ranking:top", 0, 19, desc=True)
        lines = await client.mget([b"ranking:line:" + movie for movie in found])
        assert len(lines) == 20

    async def rank() -> None:
        assert await client.zrevrank("ranking:top", str(dice.randrange(movies))) is not None

    for name, one in {"first page": page, "rank": rank}.items():
        own, theirs = time.process_time(), usage.measure([pid])[pid].cpu_s
        for _ in range(calls):
            await one()
        own, theirs = time.process_time() - own, usage.measure([pid])[pid].cpu_s - theirs
        print(f"{name:12} this process {own / calls * 1e6:6.0f} CPU-µs   Redis {theirs / calls * 1e6:6.0f}")
    print(f"Redis holds {(await client.info('memory'))['used_memory'] / 2**20:.0f} MiB for {movies} movies")
    await client.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--movies", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=5000)
    given = parser.parse_args()
    with stores() as stack:
        asyncio.run(main(stack.redis_url(REDIS_ADMIN), pid_of(stack, "redis"), given.movies, given.calls))
