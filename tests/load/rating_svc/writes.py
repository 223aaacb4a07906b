"""How many writes the edge takes, what each costs in every process, and how soon it stands in the chart.

    python -m tests.load.rating_svc.writes [--seconds 20] [--users 32] [--samples 200]

Starts a mesh of its own, one instance of everything. CPU counts from the first
write until the last is stored and counted, so the worker's, the relay's and the
consumer's part is in it.
"""

import argparse
import asyncio
import itertools
import random
import time

import uvloop

from local.commands.edge_client import EdgeClient
from local.stack.layout import Stack
from tests.load.rating_svc.rig import MOVIES, Latencies, cpu_s, drained, mesh, table, votes, warm, write
from tests.support import fences


async def throughput(stack: Stack, client: EdgeClient, users: int, seconds: float) -> None:
    taken = Latencies()
    before, own, began = cpu_s(stack), time.process_time(), time.perf_counter()
    end = began + seconds

    async def user(number: int) -> None:
        chance = random.Random(number)
        for turn in itertools.count():
            if time.perf_counter() > end:
                return
            # Another author each time: ten million users do not wait for one another.
            await write(client, f"w{number}-{turn % 50}", chance.choice(MOVIES), chance.randint(1, 10), taken)

    await asyncio.gather(*(user(number) for number in range(users)))
    accepted_s = time.perf_counter() - began
    own = time.process_time() - own
    await drained(stack)
    stored_s = time.perf_counter() - began
    await fences.counted(stack, 120)
    after, count = cpu_s(stack), len(taken.seconds)
    print(f"{count / accepted_s:,.0f} writes/s accepted, {users} at once; {taken}")
    print(f"all stored after {stored_s:.1f} s: {count / stored_s:,.0f} writes/s from end to end")
    used = {name: after[name] - before[name] for name in after} | {"this client": own}
    rows = [(name, f"{spent / count * 1e6:,.0f}") for name, spent in used.items()]
    print(table([("process", "CPU-µs a write"), *rows, ("all", f"{sum(used.values()) / count * 1e6:,.0f}")]))


async def to_the_chart(client: EdgeClient, samples: int) -> None:
    """From the answer to a write until the score that the edge answers with holds it."""
    taken, counted = Latencies(), Latencies()
    for number in range(samples):
        movie = MOVIES[number % len(MOVIES)]
        before = await votes(client, movie)
        assert await write(client, f"sample-{number}", movie, 8, taken)
        answered = time.perf_counter()
        while await votes(client, movie) <= before:
            await asyncio.sleep(0.002)
        counted.seconds.append(time.perf_counter() - answered)
    print(f"from the answer to the chart: {counted}")


async def main(arguments: argparse.Namespace, stack: Stack) -> None:
    client = EdgeClient(stack, "partner")
    try:
        await warm(stack, client)
        await to_the_chart(client, arguments.samples)
        await throughput(stack, client, arguments.users, arguments.seconds)
    finally:
        client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--samples", type=int, default=200)
    given = parser.parse_args()
    with mesh() as running_mesh:
        uvloop.run(main(given, running_mesh))
