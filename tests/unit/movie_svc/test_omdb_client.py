"""OMDb's client against the simulator: a typed outcome for all that OMDb does, within the deadline."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from marquee.movies.v1 import movies_pb2

from local.omdb_simulator import catalogue
from local.omdb_simulator.app import Simulator
from mesh import clock
from mesh.errors import unavailable
from movie_svc.config import OmdbConfig
from movie_svc.omdb.calls import SetAside, Verdict
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.outcome import Absent, Failed, Failure, Found
from movie_svc.omdb.quota import Purpose, Quota
from tests.support.waiting import eventually

MATRIX = 133093
CONFIG = OmdbConfig(
    api_key="k",
    deadline_s=3.0,
    attempt_s=1.0,
    attempts=2,
    rate_per_s=10_000,
    daily_limit=100_000,
    breaker_calls=4,
    breaker_pause_s=0.2,
    breaker_max_pause_s=1,
    refused_pause_s=0.2,
)


# For tests that look while the breaker is open: however slow the machine, it does not close meanwhile.
LONG_OPEN = replace(CONFIG, breaker_pause_s=60, breaker_max_pause_s=60, refused_pause_s=60)


class Generous:
    """Counts nothing: `tests/integration/movie_svc/test_quota.py` counts by the real one."""

    def __init__(self) -> None:
        self.away = False
        self.extra = 0

    async def take(self, rate: float, burst: int, ceiling: int, reserve: int, spare: int) -> Verdict:
        if self.away:
            raise unavailable("DATABASE_UNAVAILABLE", "away", retry_after=1)
        return Verdict(
            granted=ceiling > 0,
            extra=min(self.extra, reserve),
            day=clock.utc_now().toordinal(),
            used=0,
            day_used=ceiling <= 0,
            retry_after=60,
        )

    async def set_aside(self, count: int, spare: int) -> SetAside:
        raise NotImplementedError

    async def give_back(self, count: int, day: int) -> None: ...


@dataclass
class Parts:
    """The client, and the simulator that it asks."""

    omdb: Omdb
    simulator: Simulator
    url: str
    ledger: Generous

    def behave(self, **wish: Any) -> None:
        self.simulator.behaviour = self.simulator.behaviour.changed(wish)

    async def ask(self) -> Failure | str:
        outcome = await self.omdb.by_id(MATRIX)
        return outcome.failure if isinstance(outcome, Failed) else type(outcome).__name__


@pytest.fixture
def config() -> OmdbConfig:
    return CONFIG


@pytest.fixture
async def parts(config: OmdbConfig) -> AsyncIterator[Parts]:
    simulator = Simulator(catalogue.load(None), seed=1)
    server = TestServer(simulator.app())
    await server.start_server()
    url = str(server.make_url("/"))
    async with aiohttp.ClientSession() as session:
        config = replace(config, url=url)
        ledger = Generous()
        yield Parts(Omdb(config, Quota(ledger, config), session), simulator, url, ledger)
    await server.close()


async def test_a_title(parts: Parts) -> None:
    outcome = await parts.omdb.by_id(MATRIX)
    assert isinstance(outcome, Found)
    assert outcome.body["Title"] == "The Matrix"
    assert b"The Matrix" in outcome.raw


async def test_a_title_that_omdb_does_not_have(parts: Parts) -> None:
    assert await parts.omdb.by_id(999_999) == Absent("Error getting data.")


async def test_look_ups_and_searches(parts: Parts) -> None:
    found = await parts.omdb.by_title("Matrix, The", 1999, movies_pb2.MOVIE_TYPE_MOVIE)
    assert isinstance(found, Found)
    assert found.body["imdbID"] == "tt0133093"
    page = await parts.omdb.search("matrix", None, 0, 1)
    assert isinstance(page, Found)
    assert len(page.body["Search"]) == 3


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("limited", Failure.LIMITED),
        ("invalid_key", Failure.BAD_KEY),
        ("captcha", Failure.CAPTCHA),
        ("down", Failure.DOWN),
        ("unavailable", Failure.DOWN),
        ("timeout", Failure.DOWN),
        ("html", Failure.DOWN),
        ("truncated", Failure.MALFORMED),
        ("hanging", Failure.TIMEOUT),
    ],
)
async def test_every_failure_has_its_name_and_ends_by_itself(
    parts: Parts, mode: str, failure: Failure
) -> None:
    parts.behave(mode=mode)
    assert await parts.ask() is failure
    parts.behave(mode="ok")

    async def found() -> bool:
        return await parts.ask() == "Found"

    await eventually(found)


async def test_control_characters_and_bad_escapes_are_read(parts: Parts) -> None:
    parts.behave(mode="control_characters")
    assert await parts.ask() == "Found"


async def test_a_failure_that_may_pass_is_tried_again(parts: Parts) -> None:
    parts.behave(mode="down", share=0.5)
    results = [await parts.ask() for _ in range(3)]
    assert results.count("Found") >= 2
    assert parts.simulator.calls["i"] > 3


@pytest.mark.parametrize("config", [LONG_OPEN])
@pytest.mark.parametrize("mode", ["limited", "invalid_key", "captcha"])
async def test_a_refused_key_is_not_tried_again(parts: Parts, mode: str) -> None:
    parts.behave(mode=mode)
    assert await parts.ask() in (Failure.LIMITED, Failure.BAD_KEY, Failure.CAPTCHA)
    for _ in range(10):
        outcome = await parts.omdb.by_id(MATRIX)
        assert isinstance(outcome, Failed)
        assert outcome.failure is Failure.BREAKER
        assert 0 < outcome.retry_after <= 60 * 1.2
    assert parts.simulator.calls["i"] == 1


@pytest.mark.parametrize("config", [LONG_OPEN])
async def test_an_outage_costs_few_calls_and_no_waiting(parts: Parts) -> None:
    parts.behave(mode="down")
    for _ in range(50):
        await parts.ask()
    assert parts.simulator.calls["i"] <= 2 * CONFIG.breaker_calls
    asked = parts.simulator.calls["i"]
    assert await parts.ask() is Failure.BREAKER
    assert parts.simulator.calls["i"] == asked
    with pytest.raises(ConnectionError):
        await parts.omdb.ping()


async def test_a_dead_server_is_unreachable(parts: Parts) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        parts.omdb._config = replace(CONFIG, url=f"http://127.0.0.1:{reserved.getsockname()[1]}/")
        assert await parts.ask() is Failure.UNREACHABLE


async def test_a_trickling_answer_ends_at_the_deadline(parts: Parts) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Without end: only the deadline ends it."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999999\r\n\r\n{")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    parts.omdb._config = replace(CONFIG, url=f"http://{host}:{port}/")
    assert await parts.ask() is Failure.TIMEOUT
    server.close()


async def test_an_answer_about_another_title_is_refused(parts: Parts) -> None:
    body = parts.simulator._catalogue.by_id("tt0234215")
    assert body is not None
    parts.simulator._catalogue._by_id["tt0133093"] = body
    assert await parts.ask() is Failure.MALFORMED


@pytest.mark.parametrize("config", [replace(CONFIG, concurrency=1, deadline_s=1.0)])
async def test_questions_that_find_no_place_in_time_are_turned_away(parts: Parts) -> None:
    async with parts.omdb._bulkhead:  # as by a question that is under way
        assert await asyncio.gather(*(parts.ask() for _ in range(5))) == [Failure.BUSY] * 5
    assert await parts.ask() == "Found"


async def test_with_nobody_to_count_a_replica_lives_on_its_reserve(parts: Parts) -> None:
    parts.ledger.extra = 3
    assert await parts.ask() == "Found"
    parts.ledger.away = True
    refresh = await parts.omdb.by_id(MATRIX, purpose=Purpose.REFRESH)
    assert isinstance(refresh, Failed), "refreshes can wait"
    results = [await parts.ask() for _ in range(5)]
    assert results == ["Found"] * 3 + [Failure.BUSY] * 2


@pytest.mark.parametrize("config", [replace(CONFIG, rate_per_s=8)])
async def test_alone_a_replica_keeps_to_a_quarter_of_the_rate(parts: Parts) -> None:
    parts.ledger.extra = 100
    assert await parts.ask() == "Found"
    parts.ledger.away = True
    results = await asyncio.gather(*(parts.ask() for _ in range(20)))
    assert results.count("Found") == 2
    assert results.count(Failure.BUSY) == 18


@pytest.mark.parametrize("config", [replace(CONFIG, mode="off"), replace(CONFIG, api_key="")])
async def test_off_means_that_nothing_is_asked(parts: Parts) -> None:
    assert await parts.ask() is Failure.OFF
    assert parts.simulator.calls.total() == 0
