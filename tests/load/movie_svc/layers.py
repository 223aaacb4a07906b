"""What a read of movie_svc costs in each layer: `python -m tests.load.movie_svc.layers [--calls N]`.

One replica, one client, stores of its own, all on this machine. CPU is that of each process by itself;
the client is not in it. Layers are measured one by one: what is above one is turned off or emptied.
"""

import argparse
import asyncio

from local.stack.layout import Stack
from tests.load.cost import Cost
from tests.load.movie_svc.rig import batches, forget, gets, movielens_titles, replica, run, stores

NO_L1 = {"MARQUEE_MOVIE_L1_BYTES": "0"}
# A port where nothing listens, and hours before it is tried again.
NO_REDIS = {"MARQUEE_REDIS_URL": "redis://127.0.0.1:1/0", "MARQUEE_MOVIE_REDIS_PAUSE_S": "86400"}
SETTLE_S = 3.0


async def main(stack: Stack, calls: int, concurrency: int) -> None:
    names = movielens_titles().names
    # A cold title is asked for once only, so there are fewer of those calls.
    hot, many, cold = names[:1000], calls // 10, max(100, calls // 5)
    for round_number in range(1, 3):
        print(f"round {round_number}")
        await forget(stack)
        async with replica(stack) as process:
            one, other = names[:cold], names[cold : 2 * cold]
            report("OMDb, GetMovie", await run(stack, [process], gets(one, len(one)), 16))
            report("OMDb, BatchGetMovies of 50", await run(stack, [process], batches(other, cold // 50), 1))
            await asyncio.sleep(SETTLE_S)  # what was answered is being stored
            await run(stack, [process], gets(hot, 2 * len(hot)), 16)
            report("in-process, GetMovie", await run(stack, [process], gets(hot, calls), concurrency))
            report("in-process, BatchGetMovies of 50", await run(stack, [process], batches(hot, many), 8))
        async with replica(stack, **NO_L1) as process:
            await run(stack, [process], gets(hot, len(hot)), 16)
            report("Redis, GetMovie", await run(stack, [process], gets(hot, calls), concurrency))
            report("Redis, BatchGetMovies of 50", await run(stack, [process], batches(hot, many), 8))
        async with replica(stack, **NO_L1, **NO_REDIS) as process:
            await run(stack, [process], gets(hot, 500), 16)
            report("PostgreSQL, GetMovie", await run(stack, [process], gets(hot, calls), concurrency))
            report("PostgreSQL, BatchGetMovies of 50", await run(stack, [process], batches(hot, many), 8))


def report(what: str, cost: Cost) -> None:
    print(f"{what:34} {cost}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments()
    with stores() as started:
        asyncio.run(main(started, options.calls, options.concurrency))
