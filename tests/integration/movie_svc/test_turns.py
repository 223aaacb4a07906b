"""A replica of movie_svc that is frozen loses its turns within a bound, and does no harm afterwards."""

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import kafka, postgres, redisdb
from mesh.config import load
from mesh.errors import MarqueeError
from mesh.kafka import BatchConsumer, KafkaConfig, Topic
from mesh.kafka.fenced import FencedProducer
from mesh.turns import SILENCE_S, Turns
from movie_svc.caching.cache import RedisCache, When
from movie_svc.config import CacheConfig
from movie_svc.storing.entries import Entry
from tests.support.movies import MovieProcess, Omdb
from tests.support.waiting import eventually

# The silence, a follower's next look, and a busy machine.
TAKEOVER_S = SILENCE_S + 3 + 30
# A follower looks each five seconds.
REFRESH_TAKEOVER_S = SILENCE_S + 5 + 30
OMDB, CATALOGUE = 1, 3
GODFATHER = 68646


@pytest.fixture
async def sql(stack: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    yield connection
    await connection.close()


async def test_a_relay_that_is_frozen_loses_its_turn(
    stack: Stack, sql: "asyncpg.Connection[asyncpg.Record]", tmp_path: Path
) -> None:
    async def empty() -> bool:
        return bool(await sql.fetchval("SELECT count(*) = 0 FROM outbox"))

    async with MovieProcess(stack, tmp_path) as one, MovieProcess(stack, tmp_path) as other:
        await eventually(empty)
        # One of the two has the turn; whichever it is.
        for replica in (one, other):
            replica.signal(signal.SIGSTOP)
            try:
                await sql.execute("INSERT INTO outbox (movie_id, event) VALUES (99999991, '')")
                started = time.monotonic()
                await eventually(empty, TAKEOVER_S)
                print(f"sent after {time.monotonic() - started:.1f} s")
            finally:
                replica.signal(signal.SIGCONT)


async def test_a_refresher_that_is_frozen_while_it_asks_has_a_successor_and_does_no_harm(
    stack: Stack, sql: "asyncpg.Connection[asyncpg.Record]", tmp_path: Path
) -> None:
    async def row() -> asyncpg.Record:
        (found,) = await sql.fetch("SELECT * FROM movies WHERE id = $1", GODFATHER)
        return found

    async def make_stale() -> datetime:
        """The first that is due; returns when it was fetched."""
        await sql.execute(
            "UPDATE movies SET fresh_until = '2001-01-01', votes = 2000000000 WHERE id = $1", GODFATHER
        )
        fetched: datetime = (await row())["fetch_time"]
        return fetched

    async def fetched_after(time: datetime) -> bool:
        return bool((await row())["fetch_time"] > time)

    omdb = Omdb(stack)
    often = {"MARQUEE_OMDB_DAILY_LIMIT": "1000000"}
    patient = {"MARQUEE_OMDB_ATTEMPT_S": "20", "MARQUEE_OMDB_DEADLINE_S": "30"}
    await omdb.reset()
    async with MovieProcess(stack, tmp_path, **often, **patient) as one:
        await one.get(f"movies/tt{GODFATHER:07d}")
        await eventually(lambda: sql.fetch("SELECT FROM movies WHERE id = $1", GODFATHER))
        first = await make_stale()
        await eventually(lambda: fetched_after(first))  # it has the turn
        async with MovieProcess(stack, tmp_path, **often) as other:
            await omdb.behave(latency_ms=8000)  # frozen long before that is over
            asked, done = await omdb.calls(), _refreshed(await one.metrics())
            second = await make_stale()
            await eventually(lambda: _was_asked(omdb, asked["i"]))
            one.signal(signal.SIGSTOP)
            try:
                await omdb.behave()
                started = time.monotonic()
                await eventually(lambda: fetched_after(second), REFRESH_TAKEOVER_S)
                print(f"refreshed after {time.monotonic() - started:.1f} s")
                await eventually(lambda: _has_refreshed(other, 0))  # counted a moment after it is stored
                after = await row()
            finally:
                one.signal(signal.SIGCONT)
            # It gets its answer, or finds that it waited for too long.
            await eventually(lambda: _has_refreshed(one, done))
            assert await row() == after
            assert (await one.get(f"movies/tt{GODFATHER:07d}")).etag == (
                await other.get(f"movies/tt{GODFATHER:07d}")
            ).etag


async def _was_asked(omdb: Omdb, before: int) -> bool:
    return (await omdb.calls())["i"] > before


async def _has_refreshed(replica: MovieProcess, before: float) -> bool:
    return _refreshed(await replica.metrics()) > before


def _refreshed(metrics: Mapping[str, float]) -> float:
    """How many refreshes have ended, one way or the other."""
    return sum(value for name, value in metrics.items() if name.startswith("marquee_movie_refreshed_total"))


async def test_a_turn_is_one_processs_at_a_time(stack: Stack) -> None:
    config = load(postgres.PostgresConfig, stores(stack, "movie_svc"))
    task = uuid.uuid4().hex
    holder, follower = Turns(config, silence_s=3), Turns(config, silence_s=3)
    async with holder.take(task) as held:
        assert held is not None
        async with follower.take(task) as second:
            assert second is None
        await held.rest(4)  # longer than the silence: it gives signs of life
        await held.confirm()

        async def taken_over() -> bool:
            async with follower.take(task) as second:
                return second is not None

        await eventually(taken_over, 60)  # it says nothing now
        with pytest.raises(MarqueeError):
            await held.confirm()


async def test_who_began_before_can_write_nothing_any_more(stack: Stack) -> None:
    config = KafkaConfig(bootstrap=stack.kafka_bootstrap)
    topic, name = Topic(f"fenced.{uuid.uuid4().hex}", partitions=1), f"relay-{uuid.uuid4().hex}"
    await kafka.ensure_topics(config, [topic])
    frozen = await FencedProducer.begin(config, name)
    await frozen.send_all(topic.name, [(b"movie", b"1")])
    # It had read 2 and was frozen before it sent it; its successor sends 2, and then 3.
    successor = await FencedProducer.begin(config, name)
    await successor.send_all(topic.name, [(b"movie", b"2")])
    await successor.send_all(topic.name, [(b"movie", b"3")])
    with pytest.raises(MarqueeError) as caught:
        await frozen.send_all(topic.name, [(b"movie", b"2")])
    assert caught.value.reason == "QUEUE_UNAVAILABLE"
    await successor.send_all(topic.name, [(b"movie", b"4")])
    await asyncio.gather(frozen.close(), successor.close())
    consumer = BatchConsumer(config, f"reader-{uuid.uuid4().hex}", [topic.name])
    found: list[bytes] = []
    try:

        async def read() -> bool:
            found.extend(record.value for record in await consumer.next_batch(100, 1))
            return b"4" in found

        await eventually(read)
    finally:
        await consumer.close()
    assert found == [b"1", b"2", b"3", b"4"]


async def test_who_ended_leaves_neither_a_connection_nor_a_thread(stack: Stack) -> None:
    # Else it went on looking for brokers, and said so on the console long after they had been stopped.
    before = _kafka_threads()
    producer = await FencedProducer.begin(KafkaConfig(bootstrap=stack.kafka_bootstrap), uuid.uuid4().hex)
    assert _kafka_threads() > before
    await producer.close()
    assert _kafka_threads() <= before


def _kafka_threads() -> int:
    """The threads of librdkafka in this process: each of its clients has some as long as it lives."""
    found = 0
    for name in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += name.read_text().startswith("rdk:")
    return found


async def test_what_was_read_before_replaces_nothing_that_was_fetched_later(stack: Stack) -> None:
    client = redisdb.connect(load(redisdb.RedisConfig, stores(stack, "movie_svc")))
    cache, number, until = RedisCache(client, CacheConfig()), 99_999_992, time.time() + 600

    def entry(text: bytes, source: int, fetched_at: float) -> Entry:
        return Entry(text, "0123456789abcdef", source, fetched_at, until)

    async def after(put: Entry, when: When = When.ALWAYS) -> bytes:
        await cache.put({number: put}, when)
        return (await cache.get_many([number]))[number].data

    try:
        assert await after(entry(b"later", OMDB, 2000.5)) == b"later"
        assert await after(entry(b"earlier", OMDB, 2000.25)) == b"later"
        assert await after(entry(b"earlier", OMDB, 2000.25), When.SOMETHING_THERE) == b"later"
        assert await after(entry(b"same time", OMDB, 2000.5)) == b"same time"
        # Which source is better the database decides, not the time.
        assert await after(entry(b"other source", CATALOGUE, 1000.0)) == b"other source"
        await client.delete(f"movie:m:{number}")
        await cache.put({number: entry(b"unasked", OMDB, 3000.0)}, When.SOMETHING_THERE)
        assert not await cache.get_many([number])
    finally:
        await client.delete(f"movie:m:{number}")
        await client.aclose()
