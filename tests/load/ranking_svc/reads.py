"""What reads of ranking_svc cost, and what a rebuild does to them.

    python -m tests.load.ranking_svc.reads [--movies 100000]

Starts stores of its own and one server. CPU is the server process's own, user
and system.
"""

import argparse
import asyncio
import itertools
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from marquee.rankings.v1 import rankings_pb2 as pb

from tests.load.ranking_svc.rig import fill, measure, stores
from tests.support.ranking_processes import OPERATOR, RankingProcess


async def reads(server: RankingProcess, movies: int, calls: int) -> None:
    dice = random.Random(1)
    pids = {"serve": server.pid}
    rankings = server.rankings
    counter = itertools.count(1)

    async def score() -> object:
        name = f"movies/tt{dice.randint(1, movies):07d}/score"
        return await rankings.GetScore(pb.GetScoreRequest(name=name))

    async def first_page() -> object:
        return await rankings.ListTopRated(pb.ListTopRatedRequest())

    async def built_page() -> object:
        return await rankings.ListTopRated(pb.ListTopRatedRequest(genre="Drama", min_votes=next(counter) % 7))

    async def rare() -> object:
        votes = next(counter) % 1000
        return await rankings.ListTopRated(
            pb.ListTopRatedRequest(genre="Film-Noir", decade=1940, type=1, min_votes=votes)
        )

    async def empty_but_broad() -> object:
        votes = 10_000_000 + next(counter)
        return await rankings.ListTopRated(pb.ListTopRatedRequest(genre="Drama", type=1, min_votes=votes))

    health_stub = health_pb2_grpc.HealthStub(server.channel)

    async def health() -> object:
        return await health_stub.Check(health_pb2.HealthCheckRequest())

    for name, one in {
        "health check (the floor of grpc.aio)": health,
        "GetScore": score,
        "ListTopRated, first page, ready": first_page,
        "ListTopRated, built, common genre": built_page,
        "ListTopRated, built, rare combination": rare,
        "ListTopRated, built, broad and empty": empty_but_broad,
    }.items():
        await measure(calls // 10, pids, one)
        print(f"{name:40} {await measure(calls, pids, one)}", flush=True)


async def rebuild(server: RankingProcess) -> None:
    slowest, stop = 0.0, asyncio.Event()

    async def probe() -> None:
        nonlocal slowest
        while not stop.is_set():
            started = time.perf_counter()
            await server.rankings.ListTopRated(pb.ListTopRatedRequest())
            slowest = max(slowest, time.perf_counter() - started)

    probing = asyncio.create_task(probe())
    for _ in range(3):
        done = await server.admin.RebuildCharts(pb.RebuildChartsRequest(), metadata=OPERATOR, timeout=120)
        print(f"RebuildCharts: {done.movies} movies in {done.elapsed_ms} ms", flush=True)
    stop.set()
    await probing
    print(f"slowest call meanwhile: {slowest * 1000:.0f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--movies", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=5000)
    arguments = parser.parse_args()
    with stores() as stack, TemporaryDirectory() as logs:
        await fill(stack, arguments.movies)
        started = time.perf_counter()
        async with RankingProcess(stack, "serve", Path(logs), MARQUEE_LOG_LEVEL="warning") as server:
            print(f"SERVING after {time.perf_counter() - started:.1f} s")
            await asyncio.sleep(3)
            await reads(server, arguments.movies, arguments.calls)
            await rebuild(server)
            memory = psutil.Process(server.pid).memory_info().rss / 2**20
            print(f"memory: {memory:.0f} MiB for {arguments.movies} movies")


if __name__ == "__main__":
    asyncio.run(main())
