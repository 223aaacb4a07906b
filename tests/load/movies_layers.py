"""What a read of movie_svc costs at each layer, and how often each layer is reached.

    MARQUEE_OMDB_ANSWERS=…/omdb/answers.jsonl marquee up --infra
    python tests/load/movies_layers.py

One replica, one client, both on this machine. CPU is the server process's own
(user and system), as its metrics page counts it: Redis, PostgreSQL and the
client are not in it. The titles are those of the running OMDb simulator.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import asyncpg
import redis.asyncio as redis
from marquee.movies.v1 import movies_pb2

from mesh.local import state as states
from mesh.local.stack import Stack, default_home
from tests.integration.movies_process import MovieProcess

UNLIMITED = {
    "MARQUEE_OMDB_RATE": "100000",
    "MARQUEE_OMDB_BURST": "100000",
    "MARQUEE_OMDB_DAILY_LIMIT": "10000000",
    "MARQUEE_OMDB_CONCURRENCY": "64",
    "MARQUEE_LOG_LEVEL": "warning",
}
NO_L1 = {"MARQUEE_MOVIE_L1_BYTES": "0"}
# A port where nothing listens, and hours before it is tried again.
NO_REDIS = {"MARQUEE_REDIS_URL": "redis://127.0.0.1:1/0", "MARQUEE_MOVIE_REDIS_PAUSE_S": "86400"}
CACHE = "marquee_movie_cache_total"


@dataclass(frozen=True)
class Cost:
    """What a number of calls came to."""

    calls: int
    cpu_us: float
    seconds: float
    latencies_ms: Sequence[float]

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.latencies_ms, n=100)
        return (
            f"{self.cpu_us:8.0f} CPU-µs  {self.calls / self.seconds:7.0f}/s  "
            f"p50 {cuts[49]:6.2f} ms  p99 {cuts[98]:6.2f} ms  ({self.calls} calls)"
        )


@asynccontextmanager
async def replica(stack: Stack, **environment: str) -> AsyncIterator[MovieProcess]:
    with tempfile.TemporaryDirectory() as folder:
        async with MovieProcess(stack, Path(folder) / "log", **{**UNLIMITED, **environment}) as process:
            yield process


async def forget(stack: Stack) -> None:
    """Empties movie_svc's tables and keys."""
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'movie_svc'")
    if tables := [row["tablename"] for row in rows if row["tablename"] != "schema_migrations"]:
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
    await connection.close()
    client = redis.Redis.from_url(stack.redis_url("movie_svc"))
    async for key in client.scan_iter("movie:*", count=1000):
        await client.delete(key)
    await client.aclose()


async def run(process: MovieProcess, requests: Sequence[Any], concurrency: int) -> Cost:
    """Sends all requests, `concurrency` at a time."""
    latencies: list[float] = []
    turn = iter(requests)

    async def work() -> None:
        for request in turn:
            began = time.perf_counter()
            if isinstance(request, movies_pb2.GetMovieRequest):
                await process.stub.GetMovie(request, timeout=30)
            else:
                await process.stub.BatchGetMovies(request, timeout=30)
            latencies.append((time.perf_counter() - began) * 1000)

    before, began = (await process.metrics())["process_cpu_seconds_total"], time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    seconds = time.perf_counter() - began
    cpu = (await process.metrics())["process_cpu_seconds_total"] - before
    return Cost(len(requests), cpu / len(requests) * 1e6, seconds, latencies)


def gets(names: Sequence[str], count: int) -> list[movies_pb2.GetMovieRequest]:
    return [movies_pb2.GetMovieRequest(name=name) for name in itertools.islice(itertools.cycle(names), count)]


def batches(names: Sequence[str], count: int, size: int = 50) -> list[movies_pb2.BatchGetMoviesRequest]:
    turn = itertools.cycle(names)
    return [movies_pb2.BatchGetMoviesRequest(names=list(itertools.islice(turn, size))) for _ in range(count)]


async def layers(stack: Stack, names: Sequence[str], options: argparse.Namespace) -> None:
    """Each layer by itself: what is above it is turned off or emptied."""
    await forget(stack)
    async with replica(stack) as process:
        report("OMDb (each title once, nothing known)", await run(process, gets(names, len(names)), 16))
        await asyncio.sleep(2)  # what was answered is being stored
        hot = names[:1000]
        await run(process, gets(hot, 3 * len(hot)), 16)
        report("in-process, GetMovie", await run(process, gets(hot, options.calls), options.concurrency))
        report("in-process, BatchGetMovies of 50", await run(process, batches(hot, options.calls // 10), 8))
    async with replica(stack, **NO_L1) as process:
        await run(process, gets(names, len(names)), 16)
        report("Redis, GetMovie", await run(process, gets(names, options.calls), options.concurrency))
        report("Redis, BatchGetMovies of 50", await run(process, batches(names, options.calls // 10), 8))
    async with replica(stack, **NO_L1, **NO_REDIS) as process:
        await run(process, gets(names, 500), 16)
        report("PostgreSQL, GetMovie", await run(process, gets(names, options.calls), options.concurrency))
        report("PostgreSQL, BatchGetMovies of 50", await run(process, batches(names, options.calls // 10), 8))


async def replay(stack: Stack, names: Sequence[str], options: argparse.Namespace) -> None:
    """Reads by popularity (Zipf), from empty stores on: who answers, and how often OMDb is asked."""
    await forget(stack)
    rng = random.Random(options.seed)
    shuffled = list(names)
    rng.shuffle(shuffled)
    weights = [1 / rank**options.zipf for rank in range(1, len(shuffled) + 1)]
    async with replica(stack, MARQUEE_MOVIE_L1_BYTES=str(options.l1_bytes)) as process:
        for part in range(1, options.parts + 1):
            before = await process.metrics()
            drawn = rng.choices(shuffled, weights, k=options.reads)
            await run(process, [movies_pb2.GetMovieRequest(name=name) for name in drawn], 16)
            after = await process.metrics()

            def grown(name: str, after: dict[str, float] = after, before: dict[str, float] = before) -> float:
                return after.get(name, 0) - before.get(name, 0)

            hits = {
                layer: grown(f'{CACHE}{{layer="{layer}",outcome="hit"}}')
                for layer in ("l1", "redis", "postgres", "omdb")
            }
            coalesced = grown(f'{CACHE}{{layer="l1",outcome="coalesced"}}')
            calls = grown('marquee_omdb_calls_total{kind="i",outcome="found"}')
            shares = "  ".join(f"{layer} {count / options.reads:6.1%}" for layer, count in hits.items())
            print(
                f"reads {(part - 1) * options.reads:6}–{part * options.reads:6}: {shares}  "
                f"joined a flight {coalesced / options.reads:5.1%}  "
                f"OMDb calls per 10,000 reads: {calls / options.reads * 10_000:.0f}"
            )


def report(what: str, cost: Cost) -> None:
    print(f"{what:40} {cost}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--reads", type=int, default=10_000, help="reads a part of the replay")
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument("--zipf", type=float, default=1.0, help="the exponent of the popularity")
    parser.add_argument("--l1-bytes", type=int, default=1_000_000, help="the in-process cache of the replay")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def titles() -> list[str]:
    """The names of the titles that the running simulator answers with."""
    answers = os.environ.get("MARQUEE_OMDB_ANSWERS")
    if not answers:
        raise SystemExit("MARQUEE_OMDB_ANSWERS must name the file that the simulator answers from")
    lines = Path(answers).read_text(encoding="utf-8").splitlines()
    return [f"movies/{json.loads(line)['body']['imdbID']}" for line in lines]


async def main(options: argparse.Namespace, names: Sequence[str]) -> None:
    running = states.live(default_home())
    if running is None:
        raise SystemExit("the stores are not up: start them with `marquee up --infra`")
    stack = running.stack(default_home())
    await layers(stack, names, options)
    await replay(stack, names, options)


if __name__ == "__main__":
    asyncio.run(main(arguments(), titles()))
