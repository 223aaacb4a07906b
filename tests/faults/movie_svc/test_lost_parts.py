"""What is known is served throughout, whatever fails; what is not fails soon and says when to come again.

Each part is killed, or stopped so that it hangs, while readers run. Nothing is
repaired by hand afterwards.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from marquee.movies.v1 import movies_pb2

from local.omdb_simulator import films
from local.stack.layout import Home, Shape, Stack
from mesh.postgres import GONE
from tests.support.clients import redis_of
from tests.support.errors import refused
from tests.support.movies import MovieProcess, Omdb
from tests.support.parts import DATABASES, part
from tests.support.repeating import Reads, repeatedly
from tests.support.stacks import running
from tests.support.waiting import eventually

# The first test of a shape waits for its stores too.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

NAMES = [f"movies/{body['imdbID']}" for body in films.bodies()]
KNOWN, UNKNOWN = NAMES[:30], NAMES[30:]
HASTY = {
    "MARQUEE_OMDB_BREAKER_PAUSE_S": "0.3",
    "MARQUEE_OMDB_BREAKER_MAX_PAUSE_S": "1",
    "MARQUEE_OMDB_REFUSED_PAUSE_S": "0.1",
    "MARQUEE_OMDB_ATTEMPT_S": "0.7",
    "MARQUEE_OMDB_DEADLINE_S": "1.5",
    "MARQUEE_OMDB_RATE": "1000",
    "MARQUEE_OMDB_BURST": "1000",
    "MARQUEE_OMDB_DAILY_LIMIT": "1000000",
}
NO_L1 = {"MARQUEE_MOVIE_L1_BYTES": "0"}
NO_REDIS = {"MARQUEE_REDIS_URL": "redis://127.0.0.1:1/0", "MARQUEE_REDIS_SENTINELS": ""}
ONLY_POSTGRES = {**NO_L1, **NO_REDIS, "MARQUEE_MOVIE_REDIS_PAUSE_S": "3600"}


@pytest.fixture(scope="module", params=list(Shape))
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Stores of these tests' own: they are about to be killed."""
    home = Home(Path(tmp_path_factory.mktemp("movies_faults")))
    with running(home, ["infra"], shape=request.param) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def omdb(place: Stack) -> AsyncIterator[Omdb]:
    found = Omdb(place)
    await found.behave()
    yield found
    await found.behave()


Start = Callable[..., Any]


@pytest.fixture
def start(place: Stack, omdb: Omdb, tmp_path: Path) -> Start:
    """Starts a replica to which `KNOWN` is known and `UNKNOWN` is not."""

    @asynccontextmanager
    async def started(**environment: str) -> AsyncIterator[MovieProcess]:
        async with MovieProcess(place, tmp_path, **{**HASTY, **environment}) as process:
            await asyncio.gather(*(eventually(partial(answered, process, name)) for name in KNOWN))
            await eventually(lambda: stored(place, KNOWN))
            await forget(place, UNKNOWN)
            yield process

    return started


async def stored(place: Stack, names: Sequence[str]) -> bool:
    """Whether the replica has titles; not while it comes back."""
    ids = [int(name.removeprefix("movies/tt")) for name in names]
    try:
        connection = await asyncpg.connect(place.dsn("movie_svc", "postgres-replica"))
        count = await connection.fetchval("SELECT count(*) FROM movies WHERE id = ANY($1::int[])", ids)
        await connection.close()
    except GONE:
        return False
    return bool(count == len(names))


async def forget(place: Stack, names: Sequence[str]) -> None:
    connection = await asyncpg.connect(place.dsn("movie_svc"))
    ids = [int(name.removeprefix("movies/tt")) for name in names]
    await connection.execute("DELETE FROM movies WHERE id = ANY($1::int[])", ids)
    await connection.close()
    client = redis_of(place, "movie_svc")
    keys = [f"movie:m:{number}" for number in ids]
    # Redis tells of what goes only if it was there.
    await client.mset(dict.fromkeys(keys, b""))
    await client.delete(*keys)
    await client.aclose()


@asynccontextmanager
async def readers(process: MovieProcess, number: int = 4, timeout_s: float = 8) -> AsyncIterator[Reads]:
    """Reads known titles, one by one and in batches, until the block ends."""
    tally = Reads()

    async def read(rng: random.Random) -> None:
        began = time.perf_counter()
        try:
            if rng.random() < 0.8:
                name = rng.choice(KNOWN)
                assert (await process.get(name, timeout_s)).name == name
            else:
                names = rng.sample(KNOWN, 10)
                request = movies_pb2.BatchGetMoviesRequest(names=names)
                answer = await process.stub.BatchGetMovies(request, timeout=timeout_s)
                assert [movie.name for movie in answer.movies] == names
        except grpc.aio.AioRpcError as error:
            tally.errors.append(f"{error.code()}: {error.details()}")
        tally.latencies_s.append(time.perf_counter() - began)

    async with repeatedly(*(partial(read, random.Random(seed)) for seed in range(number))):
        yield tally


async def answered(process: MovieProcess, name: str) -> bool:
    try:
        return (await process.get(name)).name == name
    except grpc.aio.AioRpcError:
        return False


@pytest.mark.parametrize(
    "trouble",
    [
        {"mode": "down"},
        {"mode": "unavailable"},
        {"mode": "limited"},
        {"mode": "invalid_key"},
        {"mode": "captcha"},
        {"mode": "hanging"},
        {"mode": "html"},
        {"mode": "truncated"},
        {"latency_ms": 10_000},
    ],
    ids=lambda trouble: str(trouble.get("mode", "slow")),
)
async def test_omdb_in_trouble(start: Start, omdb: Omdb, trouble: dict[str, Any]) -> None:
    async with start() as process:
        await omdb.behave(**trouble)
        async with readers(process) as tally:
            for name in UNKNOWN[:8]:
                # After the deadline, the client would have ended it by itself.
                details = await refused(process.get(name, timeout=6))
                assert (details.code, details.reason) == (grpc.StatusCode.UNAVAILABLE, "OMDB_UNAVAILABLE")
                assert details.retry_s is not None
                assert details.retry_s >= 1
            await omdb.behave()
            for name in UNKNOWN[:8]:
                await eventually(lambda name=name: answered(process, name))
        tally.check(f"OMDb {trouble}")


async def test_omdb_lying(start: Start, omdb: Omdb) -> None:
    """Near matches are not taken for what was asked, and are no reason to forget what is known."""
    async with start() as process:
        known = await process.get(KNOWN[0])
        await omdb.behave(mode="near_match")
        async with readers(process) as tally:
            request = movies_pb2.LookupMovieRequest(title="Parasite", year=2019)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await process.stub.LookupMovie(request, timeout=5)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            lookup = movies_pb2.LookupMovieRequest(title=known.title, year=known.year)
            assert (await process.stub.LookupMovie(lookup, timeout=5)).name == known.name
            # Nor is it taken at its word that known titles are gone.
            await omdb.behave(mode="not_found")
            await asyncio.sleep(1)
        tally.check("OMDb lying")


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_redis_away(start: Start, place: Stack, how: str) -> None:
    redis = await part(place, "redis")
    async with start() as process:
        async with readers(process) as tally, getattr(redis, how)(4):
            await asyncio.sleep(0.5)
            assert await answered(process, UNKNOWN[0])
        tally.check(f"Redis {how}", slowest_s=3)

        async def tracked() -> bool:
            return (await process.metrics())["marquee_movie_l1_tracking"] == 1

        await eventually(tracked)


@pytest.mark.parametrize("how", ["killed", "hanging"])
@pytest.mark.parametrize("which", ["postgres", "postgres-replica"])
async def test_a_database_away(start: Start, place: Stack, which: str, how: str) -> None:
    """Every read goes to PostgreSQL here: there is neither an in-process cache nor Redis."""
    database = await part(place, which)
    async with start(**ONLY_POSTGRES) as process:
        async with readers(process, timeout_s=15) as tally, getattr(database, how)(4):
            pass
        tally.check(f"{which} {how}", slowest_s=10)


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_without_the_primary_new_titles_are_answered_and_stored_later(
    start: Start, place: Stack, how: str
) -> None:
    primary = await part(place, "postgres")
    async with start() as process:
        # The primary counts what OMDb is asked: without it, a replica lives on its reserve.
        await eventually(lambda: holds_a_reserve(process))
        async with readers(process, timeout_s=15) as tally, getattr(primary, how)(4):
            await eventually(lambda: answered(process, UNKNOWN[1]))
        tally.check(f"primary {how}, caches there", slowest_s=10)
        await eventually(lambda: stored(place, [UNKNOWN[1]]), 60)


async def holds_a_reserve(process: MovieProcess) -> bool:
    return (await process.metrics())["marquee_omdb_quota_reserve"] > 0


async def test_without_any_database_what_is_cached_is_served(start: Start, place: Stack) -> None:
    databases = await part(place, DATABASES)
    async with start(**NO_L1) as process:
        await asyncio.gather(*(process.get(name) for name in KNOWN))
        async with readers(process) as tally, databases.killed(4):
            pass
        tally.check("all databases killed")
        await eventually(lambda: stored(place, KNOWN), 60)


async def test_without_kafka_nothing_is_missed(start: Start, place: Stack) -> None:
    kafka = await part(place, "kafka")
    async with start() as process:
        async with readers(process) as tally, kafka.killed(3):
            assert await answered(process, UNKNOWN[2])
            connection = await asyncpg.connect(place.dsn("movie_svc"))
            await eventually(lambda: connection.fetchval("SELECT count(*) > 0 FROM outbox"))
        tally.check("Kafka killed")
        await eventually(lambda: connection.fetchval("SELECT count(*) = 0 FROM outbox"), 90)
        await connection.close()


async def test_a_replica_that_is_killed_leaves_its_work_to_the_others(start: Start, place: Stack) -> None:
    """Leases, leadership and the outbox's lock die with their holder."""
    async with start() as one, start() as other:
        assert await answered(one, UNKNOWN[3])
        await one.kill()
        for name in UNKNOWN[4:8]:
            assert await answered(other, name)
        connection = await asyncpg.connect(place.dsn("movie_svc"))
        await eventually(lambda: connection.fetchval("SELECT count(*) = 0 FROM outbox"), 30)
        await connection.close()
