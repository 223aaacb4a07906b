"""What the load scripts of rankings share: stores of their own, made-up movies, and CPU times."""

import asyncio
import math
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil

from mesh import migrations
from mesh.local import state as states
from mesh.local.stack import Home, Stack
from ranking_svc.__main__ import MIGRATIONS
from ranking_svc.model import SCORES
from tests.support.stacks import running

GENRES = ("Drama", "Comedy", "Thriller", "Action", "Romance", "Crime", "Horror", "Western", "Film-Noir")


@contextmanager
def stores() -> Iterator[Stack]:
    """PostgreSQL, Redis and Kafka in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, running(Home(Path(folder)), ["infra"]) as stack:
        yield stack


@asynccontextmanager
async def database(stack: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to ranking_svc's schema, made if it is not there."""
    await migrations.migrate(stack.dsn("ranking_svc"), MIGRATIONS)
    connection = await asyncpg.connect(stack.dsn("ranking_svc"), command_timeout=300)
    try:
        yield connection
    finally:
        await connection.close()


async def fill(stack: Stack, movies: int, seed: int = 1) -> None:
    """Rated movies with facts: few have very many votes, most have few, as in real catalogues."""
    dice = random.Random(seed)
    now, told = time.time(), datetime.now(UTC)
    scores, facts = [], []
    for movie in range(1, movies + 1):
        votes = max(1, int(dice.paretovariate(0.9)))
        mean, counts = dice.gauss(6.8, 1.1), [0] * len(SCORES)
        for _ in range(min(votes, 400)):
            counts[max(1, min(10, round(dice.gauss(mean, 1.8)))) - 1] += max(1, votes // 400)
        heats = [math.log2(votes) + (now - dice.expovariate(1e-6)) / (d * 86_400) for d in (1, 7, 30)]
        scores.append((movie, *counts, *heats))
        genres = dice.choices(GENRES, range(len(GENRES), 0, -1), k=dice.randint(1, 3))
        year = 2024 - int(dice.expovariate(0.05)) % 100
        box_office = dice.randint(1000, 500_000_000) if dice.random() < 0.2 else None
        facts.append((movie, f"Movie number {movie}", year, 1, list(dict.fromkeys(genres)), box_office, told))
    async with database(stack) as connection:
        await connection.execute("TRUNCATE scores, facts, inbox, formula, fact_requests")
        columns = ["movie", *(f"h{score}" for score in SCORES), "heat_day", "heat_week", "heat_month"]
        await connection.copy_records_to_table("scores", records=scores, columns=columns)
        columns = ["movie", "title", "year", "type", "genres", "box_office_usd", "change_time"]
        await connection.copy_records_to_table("facts", records=facts, columns=columns)
        await connection.execute("ANALYZE")


@dataclass(frozen=True)
class Usage:
    """CPU of some processes over some units of work."""

    units: int
    cpu_us: dict[str, float]
    seconds: float
    latencies_ms: list[float]

    def __str__(self) -> str:
        parts = "  ".join(f"{name} {us:7.1f}" for name, us in self.cpu_us.items())
        text = f"CPU-µs: {parts}   {self.units / self.seconds:8.0f}/s"
        if len(self.latencies_ms) > 1:
            cuts = statistics.quantiles(self.latencies_ms, n=100)
            text += f"   p50 {cuts[49]:.2f} ms  p99 {cuts[98]:.2f} ms"
        return text


def cpu_s(pid: int) -> float:
    """User and system time of a process and its descendants, in seconds."""
    process = psutil.Process(pid)
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def pid_of(stack: Stack, name: str) -> int:
    state = states.live(stack.home)
    assert state is not None
    return state.processes[name].pid


async def measure(
    units: int, pids: dict[str, int], one: Callable[[], Awaitable[object]], concurrency: int = 8
) -> Usage:
    """Does `one` so many times and counts the processes' CPU a time."""
    left, latencies = units, []

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            await one()
            latencies.append((time.perf_counter() - started) * 1000)

    before, started = {name: cpu_s(pid) for name, pid in pids.items()}, time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    used = {name: (cpu_s(pid) - before[name]) / units * 1e6 for name, pid in pids.items()}
    return Usage(units, used, seconds, latencies)
