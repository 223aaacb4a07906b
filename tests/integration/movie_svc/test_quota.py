"""The calls to OMDb of all replicas: never more than a day has, whatever is lost, and by one clock."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import grpc
import pytest

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import clock, postgres
from mesh.config import load
from mesh.postgres import PostgresConfig
from movie_svc.config import OmdbConfig
from movie_svc.omdb.calls import Calls
from movie_svc.omdb.quota import Purpose, Quota
from tests.support.clients import delete_keys
from tests.support.clock import skewed
from tests.support.movies import MovieProcess, Omdb, forget_everything
from tests.support.proxy import proxied
from tests.support.waiting import eventually

HOUR_S = 3600
Start = Callable[..., MovieProcess]


@pytest.fixture
async def omdb(stack: Stack) -> AsyncIterator[Omdb]:
    """OMDb as it should be, a day on which it was not asked yet, and no title that it would be asked for."""
    found = Omdb(stack)
    await found.reset()
    await forget_everything(stack)
    yield found
    await forget_everything(stack)


@asynccontextmanager
async def _movies(stack: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def start(stack: Stack, omdb: Omdb, tmp_path: Path) -> Start:
    usual = {"MARQUEE_OMDB_RATE": "1000", "MARQUEE_OMDB_BURST": "1000"}
    return lambda **environment: MovieProcess(stack, tmp_path, **{**usual, **environment})


async def new_titles(replicas: list[MovieProcess], first: int, count: int) -> int:
    """Asks for titles that nobody has asked for; returns how many were refused."""

    async def refused(replica: MovieProcess, number: int) -> bool:
        try:
            await replica.get(f"movies/tt{number}")
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        return False

    turn = itertools.cycle(replicas)
    refusals = await asyncio.gather(*(refused(next(turn), first + i) for i in range(count)))
    return sum(refusals)


async def test_a_redis_that_was_lost_forgets_no_call(stack: Stack, start: Start, omdb: Omdb) -> None:
    limit = {"MARQUEE_OMDB_DAILY_LIMIT": "10", "MARQUEE_OMDB_ATTEMPTS": "1"}
    async with start(**limit) as one, start(**limit) as other:
        assert await new_titles([one, other], 60_000_000, 15) == 5
        await delete_keys(stack, "movie_svc", "movie:*")
        assert await new_titles([one, other], 61_000_000, 15) == 15
    # Nor does a replica that is started again.
    async with start(**limit) as again:
        assert await new_titles([again], 62_000_000, 3) == 3
    assert (await omdb.calls())["i"] == 10


async def test_a_clock_that_is_wrong_stops_nobody_else(stack: Stack, start: Start, omdb: Omdb) -> None:
    rate = {"MARQUEE_OMDB_RATE": "10", "MARQUEE_OMDB_BURST": "2", "MARQUEE_OMDB_ATTEMPTS": "1"}
    async with start(**rate, **skewed(HOUR_S)) as ahead, start(**rate) as right:
        assert await new_titles([ahead], 63_000_000, 1) == 0
        for number in itertools.count(63_000_001):
            # More than the bucket held: it is filled again by the second, not by the hour.
            await eventually(lambda number=number: _taken(right, number), 60)
            if number == 63_000_006:
                break
        # What one has stored the other takes for neither future nor past.
        await eventually(lambda: _known(ahead), 60)
        movie = await ahead.get("movies/tt0068646")
        assert (await right.get("movies/tt0068646")).fetch_time == movie.fetch_time
        async with _movies(stack) as connection:
            stored = "SELECT abs(extract(epoch FROM now() - fetch_time)) FROM movies WHERE id = 68646"
            off = await eventually(lambda: connection.fetchval(stored))
        assert off < HOUR_S / 2


async def _taken(replica: MovieProcess, number: int) -> bool:
    return await new_titles([replica], number, 1) == 0


async def _known(replica: MovieProcess) -> bool:
    try:
        return bool((await replica.get("movies/tt0068646")).title)
    except grpc.aio.AioRpcError:
        return False


@pytest.fixture
async def config(stack: Stack, start: Start) -> PostgresConfig:
    async with start():  # brings the schema up to date
        return load(PostgresConfig, stores(stack, "movie_svc"))


async def allowed(quotas: list[Quota], purpose: Purpose = Purpose.READ) -> int:
    """How many calls go until everybody is refused."""
    count = 0
    for quota in quotas:
        while (await quota.take(purpose)) is None:
            count += 1
    return count


@asynccontextmanager
async def replicas(config: PostgresConfig, omdb: OmdbConfig, count: int) -> AsyncIterator[list[Quota]]:
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            pg = await postgres.connect(config)
            stack.push_async_callback(pg.close)
            made.append(Quota(Calls(pg), omdb))
        yield made


async def test_the_last_calls_of_a_day_are_for_readers(config: PostgresConfig) -> None:
    """Of all replicas together: refreshes stop first, then searches."""
    day = OmdbConfig(daily_limit=10, refresh_share=0.4, search_share=0.8, rate_per_s=1000, burst=100)
    async with replicas(config, day, 2) as both:
        counts = [await allowed(both, p) for p in (Purpose.REFRESH, Purpose.SEARCH, Purpose.READ)]
        assert counts == [4, 4, 2]
        refusal = await both[0].take(Purpose.READ)
        assert refusal is not None
        assert refusal.day_used
        assert 0 < refusal.retry_after <= 86_400


async def test_many_at_once_are_counted_one_by_one(config: PostgresConfig) -> None:
    day = OmdbConfig(daily_limit=40, rate_per_s=1e6, burst=1000)
    async with replicas(config, day, 4) as all_of_them:

        async def asks(quota: Quota) -> int:
            return sum([await quota.take(Purpose.READ) is None for _ in range(10)])

        # As many at once as a replica asks of OMDb at once.
        counts = await asyncio.gather(*(asks(quota) for quota in all_of_them for _ in range(2)))
        assert sum(counts) + await allowed(all_of_them) == 40


async def test_five_replicas_that_lost_the_primary_do_not_exceed_the_day(
    stack: Stack, config: PostgresConfig
) -> None:
    day = OmdbConfig(daily_limit=500, rate_per_s=1e6, burst=1000)
    async with proxied(stack.port("postgres", "sql")) as proxy:
        port = str(stack.port("postgres", "sql"))
        cut_off = replace(config, primary=config.primary.replace(f":{port}/", f":{proxy.port}/"))
        async with replicas(cut_off, day, 5) as five, replicas(config, day, 1) as others:
            before = 0
            for quota in five:
                before += await quota.take(Purpose.READ) is None
            assert before == 5
            proxy.hold()
            alone = await allowed(five)
            assert 0 < alone <= 25, "each lives on what it had in reserve"
            # Those that still reach the primary don't get what the five may use.
            rest = await allowed(others)
            assert before + alone + rest <= 500
            proxy.let_go()
            print(f"{before} before, {alone} alone, {rest} by others: {before + alone + rest} of 500")


async def test_what_was_held_in_reserve_is_given_back_at_the_end(config: PostgresConfig) -> None:
    day = OmdbConfig(daily_limit=200, rate_per_s=1e6, burst=1000)
    for _ in range(5):
        async with replicas(config, day, 1) as (quota,):
            assert await quota.take(Purpose.READ) is None
            await quota.close()
    async with replicas(config, day, 1) as (quota,):
        assert await allowed([quota]) + 5 == 200 - 2, "all but what this one still holds in reserve"


async def test_a_replica_that_asked_nothing_yet_goes_on_without_the_primary(
    stack: Stack, start: Start, omdb: Omdb
) -> None:
    """By a reserve that is counted before it is used, so that all together stay within the day."""
    port, day = stack.port("postgres", "sql"), 300  # 1 % of the day is a reserve
    async with proxied(port) as proxy:
        cut_off = stores(stack, "movie_svc")["MARQUEE_PG_PRIMARY"].replace(f":{port}/", f":{proxy.port}/")
        limit = {"MARQUEE_OMDB_DAILY_LIMIT": str(day), "MARQUEE_OMDB_ATTEMPTS": "1"}
        async with (
            start(**limit, MARQUEE_PG_PRIMARY=cut_off) as one,
            start(**limit, MARQUEE_PG_PRIMARY=cut_off) as other,
            start(**limit) as reaches_it,
        ):
            for replica in (one, other, reaches_it):
                await eventually(lambda replica=replica: reserve_of(replica), 30, what="its reserve")
            proxy.hold()
            # Each has three; after them it says when to come again.
            assert await new_titles([one], 64_000_000, 3) == 0
            assert await new_titles([one], 64_000_100, 3) == 3
            assert await new_titles([other], 64_000_200, 2) == 0
            # Nobody else gets the one call that is left to the other.
            for first in itertools.count(64_001_000, 20):
                if await new_titles([reaches_it], first, 20) == 20:
                    break
            made = (await omdb.calls())["i"]
            print(f"{made} of {day} calls made, 5 of them without the primary")
            assert made < day
            proxy.let_go()


async def reserve_of(replica: MovieProcess) -> float:
    return (await replica.metrics())["marquee_omdb_quota_reserve"]


async def test_a_reserve_is_filled_up_and_another_day_has_its_own(config: PostgresConfig) -> None:
    day = OmdbConfig(daily_limit=1000, refresh_share=0.6, rate_per_s=1e6, burst=1000)
    async with replicas(config, day, 1) as (quota,), _calls(config) as calls:
        set_aside = await calls.set_aside(10, 600)
        assert (set_aside.extra, set_aside.used) == (10, 10)
        assert set_aside.day == clock.utc_now().toordinal()
        # Reserves leave the last calls of the day to those who ask now.
        assert (await calls.set_aside(1000, 600)).extra == 590
        full = await calls.set_aside(10, 600)
        assert (full.extra, full.used) == (0, 600)
        assert await allowed([quota]) == 400
        # A day later nothing of it is counted any more.
        async with _connection(config) as connection:
            await connection.execute("UPDATE omdb_calls SET day = day - 1")
        again = await calls.set_aside(10, 600)
        assert (again.extra, again.used) == (10, 10)


@asynccontextmanager
async def _calls(config: PostgresConfig) -> AsyncIterator[Calls]:
    pg = await postgres.connect(config)
    try:
        yield Calls(pg)
    finally:
        await pg.close()


@asynccontextmanager
async def _connection(config: PostgresConfig) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(config.primary)
    try:
        yield connection
    finally:
        await connection.close()
