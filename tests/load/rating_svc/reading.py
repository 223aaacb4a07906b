"""What reading single ratings costs the replica, by how many are read at once, and Redis' client.

    python -m tests.load.rating_svc.reading

The mesh of this checkout must be up, with data (`make demo`). CPU-µs a rating, of the database process that
answers; and a Redis command, of this process, for `mesh.pipe` and for a pipeline of redis-py's own. The kinds
take turns, and the smallest of the rounds counts.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
import psutil
import uvloop

from local.servers.services import stores
from local.stack import state as states
from local.stack.layout import Stack, default_home
from mesh import redisdb
from mesh.pipe import Pipe
from rating_svc import store

SIZES: Final = (1, 4, 8, 16)
ROUNDS: Final = 5
STATEMENTS: Final = 300
EXCHANGES: Final = 100


async def statements(dsn: str) -> dict[int, float]:
    """CPU-µs a rating, by how many one statement reads."""
    connection = await asyncpg.connect(dsn)
    try:
        backend = psutil.Process(connection.get_server_pid())
        keys = await connection.fetch("SELECT user_id, movie_id FROM ratings ORDER BY random() LIMIT 5000")
        chance, best = random.Random(1), dict.fromkeys(SIZES, float("inf"))
        for _ in range(ROUNDS):
            for size in SIZES:
                before = sum(backend.cpu_times()[:2])
                for _ in range(STATEMENTS):
                    chosen = chance.sample(keys, size)
                    await connection.fetch(store.GET, [k[0] for k in chosen], [k[1] for k in chosen])
                used = sum(backend.cpu_times()[:2]) - before
                best[size] = min(best[size], used * 1e6 / STATEMENTS / size)
        return best
    finally:
        await connection.close()


async def commands(url: str) -> dict[str, dict[int, float]]:
    """CPU-µs a command, by how many go out at once."""
    client = redisdb.connect(redisdb.RedisConfig(url=url, timeout_s=5))
    pipe = Pipe(client, 1)

    async def together(size: int) -> None:
        await asyncio.gather(*(pipe.call("HGET", f"rating:pending:{{{n}}}", 1) for n in range(size)))

    async def pipeline(size: int) -> None:
        made = client.pipeline(transaction=False)
        for number in range(size):
            made.execute_command("HGET", f"rating:pending:{{{number}}}", 1)
        await made.execute()

    kinds: dict[str, Callable[[int], Awaitable[None]]] = {"mesh.pipe": together, "redis-py": pipeline}
    best = {kind: dict.fromkeys(SIZES, float("inf")) for kind in kinds}
    for _ in range(ROUNDS):
        for kind, ask in kinds.items():
            for size in SIZES:
                before = time.process_time()
                for _ in range(EXCHANGES):
                    await ask(size)
                used = time.process_time() - before
                best[kind][size] = min(best[kind][size], used * 1e6 / EXCHANGES / size)
    await client.aclose()
    return best


def shown(name: str, costs: dict[int, float], sizes: Sequence[int] = SIZES) -> str:
    return f"{name:12}" + "".join(f"{costs[size]:8.1f}" for size in sizes)


async def main(stack: Stack) -> None:
    settings = stores(stack, "rating_svc")
    print(f"{'at once':12}" + "".join(f"{size:8}" for size in SIZES))
    print(shown("replica", await statements(settings["MARQUEE_PG_REPLICAS"].split(",")[0])))
    for kind, costs in (await commands(settings["MARQUEE_REDIS_URL"])).items():
        print(shown(kind, costs))


if __name__ == "__main__":
    home = default_home()
    uvloop.run(main(states.running(home).stack(home)))
