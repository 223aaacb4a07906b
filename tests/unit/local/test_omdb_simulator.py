"""The OMDb simulator answers, and fails, as OMDb has been seen to."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from local.omdb_simulator import catalogue, films
from local.omdb_simulator.app import Simulator


class Client:
    """Asks the simulator over real HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def raw(self, **params: str) -> tuple[int, str, bytes]:
        async with self._session.get(self._url, params={"apikey": "k", **params}) as response:
            return response.status, response.content_type, await response.read()

    async def ask(self, **params: str) -> dict[str, Any]:
        status, _, raw = await self.raw(**params)
        assert status == 200
        found: dict[str, Any] = json.loads(raw)
        return found

    async def control(self, status: int = 200, **wish: Any) -> dict[str, Any]:
        async with self._session.post(f"{self._url}_simulator", json=wish) as response:
            assert response.status == status
            found: dict[str, Any] = await response.json()
            return found

    async def state(self) -> dict[str, Any]:
        async with self._session.get(f"{self._url}_simulator") as response:
            found: dict[str, Any] = await response.json()
            return found


@pytest.fixture
async def omdb() -> AsyncIterator[Client]:
    server = TestServer(Simulator(catalogue.load(None), seed=1).app())
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        yield Client(session, str(server.make_url("/")))
    await server.close()


def test_the_built_in_titles_are_whole() -> None:
    bodies = list(films.bodies())
    assert len({body["imdbID"] for body in bodies}) == len(bodies) >= 40
    assert all(body["Title"] and body["Year"] and body["Response"] == "True" for body in bodies)


async def test_a_title_by_id(omdb: Client) -> None:
    body = await omdb.ask(i="tt0133093")
    assert (body["Title"], body["Year"], body["imdbID"]) == ("The Matrix", "1999", "tt0133093")


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"i": "tt0999999"}, "Error getting data."),
        ({"i": "0133093"}, "Incorrect IMDb ID."),
        ({"i": ""}, "Incorrect IMDb ID."),
        ({"t": "no such title anywhere"}, "Movie not found!"),
        ({"s": "xyzzyxyzzy"}, "Movie not found!"),
        ({"s": "ab"}, "Too many results."),
        ({"i": "tt0903747", "Season": "99"}, "Series or season not found!"),
        ({"i": "tt0903747", "Season": "1", "Episode": "99"}, "Series or episode not found!"),
    ],
)
async def test_refusals_come_with_status_200(omdb: Client, params: dict[str, str], error: str) -> None:
    assert await omdb.ask(**params) == {"Response": "False", "Error": error}


async def test_an_id_with_letters_gets_what_is_not_json(omdb: Client) -> None:
    status, _, raw = await omdb.raw(i="tt3896198a")
    assert status == 200
    assert raw == (
        b'{"Response":"False","Error":"Conversion from string "3896198a" to type \'Double\' is not valid."}'
    )


async def test_t_prefers_the_exact_title_and_falls_back_to_a_near_one(omdb: Client) -> None:
    assert (await omdb.ask(t="The Matrix"))["imdbID"] == "tt0133093"
    assert (await omdb.ask(t="matrix"))["imdbID"] == "tt0133093"
    assert (await omdb.ask(t="The Matrix", y="2003"))["imdbID"] == "tt0234215", (
        "OMDb takes another title then"
    )
    assert (await omdb.ask(t="The Matrix", y="1950"))["Year"] != "1950", "or another year"


async def test_s_pages_by_ten_and_counts_in_a_text(omdb: Client) -> None:
    first, second = await omdb.ask(s="the"), await omdb.ask(s="the", page="2")
    assert len(first["Search"]) == 10
    assert first["totalResults"] == second["totalResults"]
    assert isinstance(first["totalResults"], str)
    ids = [line["imdbID"] for line in first["Search"] + second["Search"]]
    assert len(ids) == len(set(ids)) == min(20, int(first["totalResults"]))
    assert set(first["Search"][0]) == {"Title", "Year", "imdbID", "Type", "Poster"}


async def test_s_filters_by_year_and_type(omdb: Client) -> None:
    found = await omdb.ask(s="matrix", y="2003", type="movie")
    assert {line["imdbID"] for line in found["Search"]} == {"tt0234215", "tt0242653"}
    assert [line["Type"] for line in (await omdb.ask(s="game", type="series"))["Search"]] == ["series"]


async def test_the_full_plot_is_longer(omdb: Client) -> None:
    short, full = await omdb.ask(i="tt0133093"), await omdb.ask(i="tt0133093", plot="full")
    assert len(full["Plot"]) > len(short["Plot"])
    assert {**full, "Plot": ""} == {**short, "Plot": ""}


async def test_without_a_key_there_is_no_answer(omdb: Client) -> None:
    status, _, raw = await omdb.raw(i="tt0133093", apikey="")
    assert (status, raw) == (401, b'{"Response":"False","Error":"No API key provided."}')


@pytest.mark.parametrize(
    ("mode", "status", "content_type", "begins"),
    [
        ("limited", 401, "application/json", b'{"Response":"False","Error":"Request limit reached!"}'),
        ("invalid_key", 401, "application/json", b'{"Response":"False","Error":"Invalid API key!"}'),
        ("down", 522, "text/html", b"<!DOCTYPE html>"),
        ("unavailable", 503, "text/html", b"<!DOCTYPE html>"),
        ("timeout", 524, "text/html", b"<!DOCTYPE html>"),
        ("captcha", 403, "text/html", b"<!DOCTYPE html>"),
        ("html", 200, "text/html", b"<!DOCTYPE html>"),
        ("not_found", 200, "application/json", b'{"Response":"False","Error":"Movie not found!"}'),
    ],
)
async def test_modes(omdb: Client, mode: str, status: int, content_type: str, begins: bytes) -> None:
    await omdb.control(mode=mode)
    answer = await omdb.raw(i="tt0133093")
    assert answer[:2] == (status, content_type)
    assert answer[2].startswith(begins)
    await omdb.control(mode="ok")
    assert (await omdb.ask(i="tt0133093"))["Title"] == "The Matrix"


@pytest.mark.parametrize("mode", ["truncated", "control_characters"])
async def test_broken_bodies_are_not_json(omdb: Client, mode: str) -> None:
    await omdb.control(mode=mode)
    status, _, raw = await omdb.raw(i="tt0133093")
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)


async def test_a_near_match_is_another_title(omdb: Client) -> None:
    await omdb.control(mode="near_match")
    assert (await omdb.ask(t="The Matrix", y="1999"))["imdbID"] != "tt0133093"


async def test_hanging_answers_nothing(omdb: Client) -> None:
    await omdb.control(mode="hanging")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(omdb.ask(i="tt0133093"), 0.3)


async def test_latency(omdb: Client) -> None:
    await omdb.control(latency_ms=150)
    began = time.perf_counter()
    await omdb.ask(i="tt0133093")
    assert time.perf_counter() - began >= 0.15


async def test_a_share_of_the_calls_fails(omdb: Client) -> None:
    await omdb.control(mode="down", share=0.3)
    statuses = [(await omdb.raw(i="tt0133093"))[0] for _ in range(100)]
    assert 10 < statuses.count(522) < 55
    assert statuses.count(200) == 100 - statuses.count(522)


async def test_a_daily_limit_ends_the_answers(omdb: Client) -> None:
    await omdb.control(daily_limit=2)
    statuses = [(await omdb.raw(i="tt0133093"))[0] for _ in range(3)]
    assert statuses == [200, 200, 401]


async def test_calls_are_counted_by_kind(omdb: Client) -> None:
    await omdb.ask(i="tt0133093")
    await omdb.ask(t="The Matrix")
    await omdb.ask(s="matrix")
    state = await omdb.state()
    assert state["calls"] == {"i": 1, "t": 1, "s": 1}
    assert state["answers"] == {"200": 3}
    assert (await omdb.control(reset=True))["calls_total"] == 0


@pytest.mark.parametrize(
    "wish", [{"mode": "tired"}, {"share": 2}, {"share": -1}, {"latency_ms": "long"}, {"colour": "red"}]
)
async def test_bad_wishes_are_refused_with_a_sentence(omdb: Client, wish: dict[str, Any]) -> None:
    before = (await omdb.state())["behaviour"]
    assert (await omdb.control(400, **wish))["error"]
    assert (await omdb.state())["behaviour"] == before


def test_recorded_answers_are_read_and_refusals_passed_over(tmp_path: Path) -> None:
    known = {"Title": "T", "Year": "1999", "imdbID": "tt0000001", "Type": "movie", "Response": "True"}
    path = tmp_path / "answers.jsonl"
    lines = [{"body": known}, {"body": {"Response": "False", "Error": "x"}}, {**known, "imdbID": "tt0000002"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = catalogue.load(path)
    assert len(found) == 2
    assert found.by_id("tt0000001") is not None
