"""What remembers users, movies, requests or clients stays within its bound, however many there are."""

import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from marquee.movies.v1.movies_pb2 import BatchGetMoviesRequest, BatchGetMoviesResponse

from mesh import redisdb
from mesh.pipe import Pipe
from mesh.redisdb import RedisConfig
from movie_svc.asking.refresh_queue import RefreshQueue
from movie_svc.caching.cache import L1
from movie_svc.config import CacheConfig
from movie_svc.storing.entries import Entry
from ranking_svc.cache import Answers
from ranking_svc.chart import Chart
from ranking_svc.watch import Watchers
from rating_svc.cache import PendingWrite, PendingWrites, Settling
from rating_svc.config import MovieCheckConfig, PendingConfig
from rating_svc.movies import Movies
from rating_svc.submissions import Position

pytestmark = pytest.mark.slow

LIMIT = 1000
ROUND = 5000
ROUNDS = 4
# A leak of the smallest entries, an int in a set, is over 1 MB in as many rounds.
FLAT_BYTES = 256 * 1024

AWAY = RedisConfig(url="redis://127.0.0.1:1/0", timeout_s=0.05)

Round = Callable[[range], Awaitable[None]]


async def stays_flat(one_round: Round, warm_up: int = ROUND) -> None:
    """Runs rounds of numbers that were never there before, and compares the memory after the first."""
    tracemalloc.start()
    try:
        await one_round(range(1, warm_up + 1))
        before = traced()
        for number in range(ROUNDS):
            first = warm_up + 1 + number * ROUND
            await one_round(range(first, first + ROUND))
        grown = traced() - before
    finally:
        tracemalloc.stop()
    assert grown < FLAT_BYTES


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_a_leak_would_be_seen() -> None:
    leak: set[int] = set()

    async def one_round(numbers: range) -> None:
        leak.update(numbers)

    with pytest.raises(AssertionError):
        await stays_flat(one_round)


def pending_of(config: PendingConfig) -> PendingWrites:
    return PendingWrites(Pipe(redisdb.connect(AWAY), pause_s=600), config)


async def test_writes_while_redis_is_away() -> None:
    pending = pending_of(PendingConfig(local_limit=LIMIT))

    async def one_round(numbers: range) -> None:
        for number in numbers:
            write = PendingWrite(number, 7, Position(1, number), time.time_ns() // 1000)
            await pending.put(f"user-{number}", [write])
            await pending.put("ann", [write])
            await pending.get(f"nobody-{number}", number)
            await pending.all(f"nobody-{number}")

    await stays_flat(one_round)


async def test_stored_writes_that_wait_to_be_forgotten() -> None:
    settling = Settling(pending_of(PendingConfig()), delay_s=3600, limit=LIMIT)

    async def one_round(numbers: range) -> None:
        for number in numbers:
            settling.add(f"user-{number}", number, Position(1, number))
        await settling.sweep()

    await stays_flat(one_round)


async def test_movies_known_to_exist_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def every_other_exists(request: BatchGetMoviesRequest, **_call: object) -> BatchGetMoviesResponse:
        answer = BatchGetMoviesResponse()
        for name in request.names:
            if int(name[-1]) % 2:
                answer.movies.add(name=name)
            else:
                answer.missing.add(name=name, reason="MOVIE_NOT_FOUND")
        return answer

    movies = Movies(None, MovieCheckConfig(limit=LIMIT))
    monkeypatch.setattr(movies, "_stub", SimpleNamespace(BatchGetMovies=every_other_exists))

    async def one_round(numbers: range) -> None:
        for first in numbers[::100]:
            assert len(await movies.missing(range(first, first + 100))) == 50

    await stays_flat(one_round)


def entry(number: int) -> Entry:
    return Entry(b"%d" % number * 20, "0123456789abcdef", 1, time.time(), time.time() + 600)


async def test_titles_in_memory_while_fills_overlap_and_keys_change() -> None:
    l1 = L1(CacheConfig(l1_bytes=LIMIT * 500))
    l1.track(True)
    l1.begin_fill()  # as if there were always one under way

    async def one_round(numbers: range) -> None:
        for number in numbers:
            begun = l1.begin_fill()
            l1.put(number, entry(number), begun)
            l1.will_write([number + 1])
            l1.invalidate([number - LIMIT])
            l1.end_fill()

    # What it notes while fills overlap is bounded by 10,000 keys.
    await stays_flat(one_round, warm_up=30_000)
    assert 0 < l1.size_bytes <= LIMIT * 500


async def test_what_is_to_be_asked_for_again_while_redis_is_away() -> None:
    queue = RefreshQueue(redisdb.connect(AWAY), enabled=True)

    async def one_round(numbers: range) -> None:
        for number in numbers:
            queue.add(number)

    await stays_flat(one_round, warm_up=15_000)


async def test_ready_pages_of_charts() -> None:
    answers = Answers(LIMIT, max_age_s=1)
    chart: Any = Chart.__new__(Chart)
    chart.version = 1

    async def one_round(numbers: range) -> None:
        for number in numbers:
            answers.get(chart, ("page", number), (b"%d" % number * 10).strip)

    await stays_flat(one_round)


async def test_watchers_that_come_and_go() -> None:
    watchers = Watchers(LIMIT)

    async def one_round(numbers: range) -> None:
        for number in numbers:
            with watchers.watch(number), watchers.watch(number):
                watchers.notify([number, -number])

    await stays_flat(one_round)
