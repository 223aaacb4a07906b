"""What the load scripts of rankings share: stores of their own, made-up movies, and CPU times."""

import asyncio
import math
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from local.commands import usage
from local.stack.layout import Home, Stack
from mesh import migrations
from ranking_svc.__main__ import MIGRATIONS
from ranking_svc.model import SCORES
from tests.load.cost import Cost
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


async def measure(
    units: int, pids: dict[str, int], one: Callable[[], Awaitable[object]], concurrency: int = 8
) -> Cost:
    """Does `one` so many times and counts the processes' CPU a time."""
    left, latencies = units, []

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            await one()
            latencies.append((time.perf_counter() - started) * 1000)

    before, started = usage.measure(pids.values()), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    after = usage.measure(pids.values())
    used = {name: (after[pid].cpu_s - before[pid].cpu_s) / units * 1e6 for name, pid in pids.items()}
    return Cost(units, used, seconds, latencies)
