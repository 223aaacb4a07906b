"""As `test_lost_parts`, but as clients meet it: over HTTP through the edge, with two replicas behind it.

Readers bypass the edge's own cache, so that it hides nothing. What each fault cost is printed: `pytest -s`.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from edge import tokens
from local.stack.layout import Home, Shape, Stack
from tests.faults.movie_svc.test_lost_parts import KNOWN, UNKNOWN, forget, stored
from tests.support.movies import Omdb
from tests.support.parts import Part, part
from tests.support.repeating import Reads, repeatedly
from tests.support.stacks import running
from tests.support.waiting import eventually

# The first test of a shape waits for its mesh too.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

SETTINGS = {
    # Else it takes minutes until OMDb is asked again after it has refused the key.
    "MARQUEE_OMDB_REFUSED_PAUSE_S": "1",
    "MARQUEE_OMDB_BREAKER_MAX_PAUSE_S": "2",
    "MARQUEE_OMDB_DAILY_LIMIT": "100000",
    "MARQUEE_OMDB_RATE": "1000",
    "MARQUEE_OMDB_BURST": "1000",
}
DOWN_S = 4.0


@pytest.fixture(scope="module", params=list(Shape))
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A mesh of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MARQUEE_OMDB_ANSWERS", raising=False)
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        home = Home(Path(tmp_path_factory.mktemp("movies_mesh")))
        with running(home, ["envoy"], {"movie_svc": 2}, shape=request.param) as started:
            yield started


class Api:
    """The edge, as one of its clients."""

    def __init__(self, place: Stack, client: httpx.AsyncClient) -> None:
        self.place = place
        self._client = client
        token = tokens.issue(place.home.tokens, "reader", tier="partner")
        self._headers = {"authorization": f"Bearer {token}", "cache-control": "no-cache"}

    async def get(self, path: str) -> httpx.Response:
        return await self._client.get(path, headers=self._headers)

    async def answers(self, name: str) -> bool:
        answer = await self.get(f"/v1/{name}")
        return answer.status_code == 200 and answer.json()["name"] == name

    async def recovers(self) -> float:
        """How many seconds it takes until titles that nobody knows yet are answered again."""
        began = time.monotonic()
        for name in UNKNOWN[:5]:
            await eventually(lambda name=name: self.answers(name))
        return time.monotonic() - began


@pytest_asyncio.fixture(loop_scope="module")
async def api(place: Stack) -> AsyncIterator[Api]:
    """A mesh that knows `KNOWN` and does not know `UNKNOWN`, and an OMDb that is well."""
    await Omdb(place).behave()
    async with httpx.AsyncClient(base_url=place.edge_url, timeout=20) as client:
        found = Api(place, client)
        for name in KNOWN:
            await eventually(lambda name=name: found.answers(name))
        await eventually(lambda: stored(place, KNOWN))
        await forget(place, UNKNOWN)
        yield found
    await Omdb(place).behave()


class Readers(Reads):
    """What readers of known titles saw."""

    def told(self, what: str, recovery_s: float) -> None:
        self.check(f"{what}, answered again after {recovery_s:.1f} s")


@asynccontextmanager
async def reading(api: Api, number: int = 4) -> AsyncIterator[Readers]:
    """Reads known titles, by id and in batches, until the block ends."""
    seen = Readers()

    async def read(dice: random.Random) -> None:
        names = dice.sample(KNOWN, 10)
        path = dice.choice(
            [f"/v1/{names[0]}", f"/v1/{names[0]}", "/v1/movies:batchGet?names=" + "&names=".join(names)]
        )
        began = time.perf_counter()
        try:
            answer = await api.get(path)
            body = answer.json()
            titles = body.get("movies", [body])
            wanted = names[: len(titles)]
            if answer.status_code != 200 or [title["name"] for title in titles] != wanted:
                seen.errors.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        except httpx.HTTPError as error:
            seen.errors.append(f"{path}: {error!r}")
        seen.latencies_s.append(time.perf_counter() - began)

    async with repeatedly(*(partial(read, random.Random(seed)) for seed in range(number))):
        yield seen


async def refused_in_time(api: Api, name: str) -> None:
    """A title that is not known fails within its deadline, and says when to come again."""
    answer = await api.get(f"/v1/{name}")
    assert answer.status_code == 503, answer.text  # after its deadline it would be 504
    assert int(answer.headers["retry-after"]) >= 1
    assert "OMDB_UNAVAILABLE" in answer.text


@pytest.mark.parametrize(
    "trouble",
    [
        {"mode": "down"},
        {"mode": "hanging"},
        {"latency_ms": 10_000},
        {"mode": "limited"},
        {"mode": "captcha"},
        {"mode": "html"},
        {"mode": "truncated"},
    ],
    ids=lambda trouble: str(trouble.get("mode", "slow")),
)
async def test_omdb_in_trouble(api: Api, trouble: dict[str, Any]) -> None:
    omdb = Omdb(api.place)
    async with reading(api) as seen:
        await omdb.behave(**trouble)
        await asyncio.gather(*(refused_in_time(api, name) for name in UNKNOWN[:5]))
        await asyncio.sleep(1)
        await omdb.behave()
        recovery_s = await api.recovers()
    seen.told(f"OMDb {trouble.get('mode', 'slow')}", recovery_s)


async def test_omdb_lying(api: Api) -> None:
    omdb = Omdb(api.place)
    known = (await api.get(f"/v1/{KNOWN[0]}")).json()
    async with reading(api) as seen:
        await omdb.behave(mode="near_match")

        async def heard() -> httpx.Response | None:
            """One of the two may not have found out yet that OMDb is well again after the last test."""
            answer = await api.get("/v1/movies:lookup?title=Parasite&year=2019")
            return None if answer.status_code == 503 else answer

        answer = await eventually(heard, 10)
        assert (answer.status_code, "MOVIE_NOT_FOUND" in answer.text) == (404, True)
        title = httpx.QueryParams({"title": known["title"], "year": str(known["year"])})
        assert (await api.get(f"/v1/movies:lookup?{title}")).json()["name"] == known["name"]
        await omdb.behave(mode="not_found")
        await asyncio.sleep(1)
        await omdb.behave()
        recovery_s = await api.recovers()
    seen.told("OMDb lying", recovery_s)


@pytest.mark.parametrize("which", ["redis", "postgres-replica", "postgres", "movie_svc"])
async def test_a_part_is_killed_and_comes_back(api: Api, which: str) -> None:
    """What nobody knows yet is answered too: OMDb is there."""
    # Of two instances of a service, the other one goes on.
    struck = Part(api.place, which) if which == "movie_svc" else await part(api.place, which)
    async with reading(api) as seen:
        async with struck.killed(DOWN_S):
            await eventually(lambda: api.answers(UNKNOWN[5]))
        back = time.monotonic()
        recovery_s = await api.recovers()
        await eventually(lambda: stored(api.place, UNKNOWN[:6]), 60)
        stored_s = time.monotonic() - back
    seen.told(f"{which} killed for {DOWN_S:g} s", recovery_s)
    print(f"    what was new meanwhile is on the replica {stored_s:.1f} s after that")


async def test_a_thousand_at_once_for_a_cold_title_cost_one_call(api: Api) -> None:
    """Through two replicas; OMDb takes its time, so that all of them are there before it answers."""
    omdb = Omdb(api.place)
    await omdb.reset()
    await omdb.behave(latency_ms=1300)
    host, port = api.place.address("envoy", "edge").split(":")
    path = f"/v1/{UNKNOWN[7]}"
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(1000)]
    request = f"GET {path} HTTP/1.1\r\nhost: marquee\r\n\r\n".encode()
    shed = 0

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str, str]:
        nonlocal shed
        while True:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            body = await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
            # The edge lets in what the machine can do: who is told to come back does.
            if b"concurrency limit" not in body:
                break
            shed += 1
            await asyncio.sleep(1)
        writer.close()
        source = re.findall(r"x-marquee-source: (\S+)", head)
        return int(head[9:12]), json.loads(body).get("name", body.decode()), source[0] if source else ""

    began = time.monotonic()
    answers = await asyncio.gather(*(ask(*connection) for connection in connections))
    took_s = time.monotonic() - began
    assert {(status, name) for status, name, _ in answers} == {(200, UNKNOWN[7])}
    sources = {source: sum(s == source for _, _, s in answers) for source in {s for _, _, s in answers}}
    calls = (await omdb.calls())["i"]
    print(
        f"1,000 at once for a cold title: {calls} call to OMDb, all answered after {took_s:.1f} s: "
        f"{sources}, {shed} times told to come back"
    )
    assert calls == 1
