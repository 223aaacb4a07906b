"""What the load scripts of movies share: stores of their own, titles for the simulator, CPU times."""

import asyncio
import csv
import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from local.commands import movielens, usage
from local.stack import state as states
from local.stack.layout import Home, Stack
from mesh.tables import PassedOver
from movie_svc.storing import catalogue
from tests.load.cost import Cost
from tests.support.clients import delete_keys
from tests.support.movies import MovieProcess, headers
from tests.support.stacks import running

UNLIMITED = {
    "MARQUEE_OMDB_RATE": "100000",
    "MARQUEE_OMDB_BURST": "100000",
    "MARQUEE_OMDB_DAILY_LIMIT": "10000000",
    "MARQUEE_OMDB_CONCURRENCY": "64",
    "MARQUEE_LOG_LEVEL": "warning",
}
Request = movies_pb2.GetMovieRequest | movies_pb2.BatchGetMoviesRequest
UnaryCall: TypeAlias = "grpc.aio.UnaryUnaryCall[Any, Any]"

_ATTEMPTS = 20
_PAUSE_S = 1.0


@dataclass(frozen=True)
class Titles:
    """MovieLens' titles, the most rated first, and how often each was rated."""

    names: Sequence[str]
    ratings: Sequence[int]
    reads: Sequence[str]
    """The title of each rating, in the order in which they were given."""


def movielens_titles() -> Titles:
    dataset = movielens.open_dataset(None)
    if dataset.folder is None:
        raise SystemExit("MARQUEE_DATA must name a folder with MovieLens' files")
    counts = Counter(f"movies/{rating.movie}" for rating in dataset.ratings)
    ranked = counts.most_common()
    return Titles(
        [name for name, _ in ranked],
        [count for _, count in ranked],
        [f"movies/{rating.movie}" for rating in dataset.ratings],
    )


def write_answers(path: Path) -> None:
    """OMDb's recorded answers and, for the other titles of MovieLens, answers of the same size."""
    recorded = movielens.omdb_answers()
    folder = movielens.open_dataset(None).folder
    if recorded is None or folder is None:
        raise SystemExit("MARQUEE_DATA must name a folder with OMDb's answers and MovieLens' files")
    bodies = [json.loads(line)["body"] for line in recorded.read_text(encoding="utf-8").splitlines()]
    known = {body["imdbID"] for body in bodies}
    pattern = next(body for body in bodies if body["imdbID"] == "tt0133093")
    with (folder / "links.csv").open(newline="", encoding="utf-8") as file:
        ids = {row["movieId"]: f"tt{int(row['imdbId']):07d}" for row in csv.DictReader(file)}
    now = datetime.now(UTC)
    for _, row in catalogue.rows(folder / "movies.csv", PassedOver(print)):
        imdb_id = ids[row["movieId"]]
        if imdb_id not in known:
            movie = movies_pb2.Movie.FromString(catalogue.record(1, row["title"], row["genres"], now).data)
            genres = ", ".join(movie.genres) or "N/A"
            said = {"Title": movie.title, "Year": str(movie.year or "N/A"), "Genre": genres}
            bodies.append({**pattern, **said, "imdbID": imdb_id})
    path.write_text("".join(json.dumps({"body": body}) + "\n" for body in bodies), encoding="utf-8")


@contextmanager
def stores() -> Iterator[Stack]:
    """PostgreSQL, Redis, Kafka and an OMDb that knows MovieLens' titles, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        write_answers(answers)
        os.environ["MARQUEE_OMDB_ANSWERS"] = str(answers)
        with running(Home(Path(folder) / "home"), ["infra"]) as stack:
            yield stack


@asynccontextmanager
async def replica(stack: Stack, **environment: str) -> AsyncIterator[MovieProcess]:
    with tempfile.TemporaryDirectory() as folder:
        async with MovieProcess(stack, Path(folder), **{**UNLIMITED, **environment}) as process:
            yield process


async def forget(stack: Stack) -> None:
    """Empties movie_svc's tables and keys."""
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'movie_svc'")
    if tables := [row["tablename"] for row in rows if row["tablename"] != "schema_migrations"]:
        await connection.execute(f"TRUNCATE {', '.join(tables)}")
    await connection.close()
    await delete_keys(stack, "movie_svc", "movie:*")


async def run(
    stack: Stack,
    processes: Sequence[MovieProcess],
    requests: Sequence[Request],
    concurrency: int,
    sources: Counter[str] | None = None,
) -> Cost:
    """Sends all requests, to each process in turn, `concurrency` at a time; counts who answers."""
    latencies: list[float] = []
    turn = iter(requests)
    replicas = itertools.cycle(processes)

    async def work() -> None:
        for request in turn:
            stub = next(replicas).stub
            began = time.perf_counter()
            call = await _answered(stub, request)
            latencies.append((time.perf_counter() - began) * 1000)
            if sources is not None:
                sources[(await headers(call))["x-marquee-source"]] += 1

    before, began = _cpu(stack, processes), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    seconds = time.perf_counter() - began
    after = _cpu(stack, processes)
    cpu_us = {name: (after[name] - before[name]) / len(requests) * 1e6 for name in before}
    return Cost(len(requests), cpu_us, seconds, latencies)


async def _answered(stub: "movies_pb2_grpc.MovieServiceAsyncStub", request: Request) -> UnaryCall:
    """A call that was answered. One is refused where a busy machine is late to count the calls to OMDb."""
    for attempt in range(_ATTEMPTS):
        is_get = isinstance(request, movies_pb2.GetMovieRequest)
        call = stub.GetMovie(request, timeout=30) if is_get else stub.BatchGetMovies(request, timeout=30)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return call
    raise AssertionError("the last attempt returns or raises")


def _cpu(stack: Stack, processes: Sequence[MovieProcess]) -> dict[str, float]:
    state = states.live(stack.home)
    assert state is not None
    parts = ("redis", "postgres", "postgres-replica")
    used = usage.measure([*(p.pid for p in processes), *(state.processes[n].pid for n in parts)])
    of_service = sum(used[process.pid].cpu_s for process in processes)
    redis_s, *postgres_s = (used[state.processes[name].pid].cpu_s for name in parts)
    return {"movie_svc": of_service, "redis": redis_s, "postgres": sum(postgres_s)}


async def metrics(processes: Sequence[MovieProcess]) -> Counter[str]:
    """The metrics of all replicas, added up."""
    found: Counter[str] = Counter()
    for process in processes:
        for name, value in (await process.metrics()).items():
            found[name] += value  # type: ignore[assignment]
    return found


def gets(names: Sequence[str], count: int) -> list[Request]:
    """GetMovie of each name in turn."""
    return [movies_pb2.GetMovieRequest(name=name) for name in itertools.islice(itertools.cycle(names), count)]


def batches(names: Sequence[str], count: int, size: int = 50) -> list[Request]:
    turn = itertools.cycle(names)
    return [movies_pb2.BatchGetMoviesRequest(names=list(itertools.islice(turn, size))) for _ in range(count)]
