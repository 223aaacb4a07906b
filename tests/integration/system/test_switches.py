"""Kill switches on the whole mesh: what users get while a part is off, and that nothing else misses it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from edge import tokens
from edge.status import look
from local.servers import probes
from local.stack.layout import Stack
from tests.support.switches import off
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"
FRESH = {"cache-control": "no-cache"}


@pytest.fixture
async def api(mesh_stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mesh_stack.edge_url, timeout=20) as client:
        assert (await client.get(MOVIE)).status_code == 200
        yield client


def refused(answer: httpx.Response, reason: str) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    error = answer.json()["error"]
    assert error["status"] == "UNAVAILABLE"
    assert reason in {each.get("reason") for each in error["details"]}


async def omdb_asked(stack: Stack, *kinds: str) -> int:
    """How often OMDb was asked: for ids (`i`), titles (`t`) or searches (`s`)."""
    state = json.loads(await probes.http(stack.port("omdb", "http"), "/_simulator"))
    return sum(state["calls"].get(kind, 0) for kind in kinds)


async def test_without_omdb_known_titles_are_served_and_others_are_not_called_absent(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    unknown = f"/v1/movies/tt{uuid.uuid4().int % 10_000_000 + 60_000_000}"
    async with off(mesh_stack, "omdb-calls"):
        before = await omdb_asked(mesh_stack, "i", "t", "s")
        refused(await api.get(unknown), "OMDB_UNAVAILABLE")
        assert (await api.get(MOVIE, headers=FRESH)).status_code == 200
        assert (await api.get("/v1/charts/top-rated")).status_code == 200
        assert await omdb_asked(mesh_stack, "i", "t", "s") == before

        async def said() -> bool:
            health = json.loads(await probes.http(mesh_stack.port("movie_svc", "metrics"), "/health"))
            return "switched it off" in json.dumps(health)

        await eventually(said, what="the health page says it: it is made once a second")
    assert (await api.get(unknown, headers=FRESH)).status_code == 404, "OMDb is asked again, and knows better"


async def test_without_search_of_omdb_what_is_stored_is_found(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    async def search(words: str) -> list[str]:
        answer = await api.get("/v1/movies:search", params={"query": words}, headers=FRESH)
        assert answer.status_code == 200, answer.text
        return [movie["title"] for movie in answer.json().get("movies", ())]

    words = f"zq{uuid.uuid4().hex[:10]}"
    async with off(mesh_stack, "omdb-search"):
        before = await omdb_asked(mesh_stack, "s")

        async def found() -> bool:
            return "The Shawshank Redemption" in await search("shawshank redemption")

        await eventually(found, what="a stored title: a search sees it some seconds later")
        assert await search(words) == []
        assert await omdb_asked(mesh_stack, "s") == before
    await search(words)
    assert await omdb_asked(mesh_stack, "s") > before


async def test_without_trending_all_other_charts_are_answered(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    async with off(mesh_stack, "trending"):
        refused(await api.get("/v1/charts/trending", headers=FRESH), "SWITCHED_OFF")
        for chart in ("top-rated", "most-voted", "box-office"):
            assert (await api.get(f"/v1/charts/{chart}", headers=FRESH)).status_code == 200
    assert (await api.get("/v1/charts/trending", headers=FRESH)).status_code == 200


async def test_without_streams_those_under_way_end_and_the_score_can_be_read(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    watch = f"{MOVIE}/score:watch"
    async with api.stream("GET", watch, timeout=60) as stream:
        lines = stream.aiter_lines()
        assert "score" in json.loads(await anext(lines))["name"]
        async with off(mesh_stack, "streams"):
            async with asyncio.timeout(30):
                # Until it ends, it may say what has changed meanwhile.
                assert {json.loads(line).get("name") async for line in lines} <= {"movies/tt0111161/score"}
            refused(await api.get(watch), "SWITCHED_OFF")
            assert (await api.get(f"{MOVIE}/score", headers=FRESH)).status_code == 200
    async with api.stream("GET", watch) as stream:
        assert stream.status_code == 200


async def test_without_the_edges_cache_each_call_is_answered_by_its_service(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    async def asked_of_the_cache() -> int:
        """How many of five calls the cache has looked up."""

        def counted() -> int:
            found = look(f"http://{mesh_stack.address('envoy', 'admin')}", mesh_stack.home.envoy)
            return found.cache_hits + found.cache_misses

        before = await asyncio.to_thread(counted)
        for _ in range(5):
            answer = await api.get(MOVIE)
            assert answer.status_code == 200
            assert answer.json()["title"] == "The Shawshank Redemption"
        return await asyncio.to_thread(counted) - before

    assert await asked_of_the_cache() >= 5
    async with off(mesh_stack, "edge-cache"):

        async def none() -> bool:
            return await asked_of_the_cache() == 0

        await eventually(none, what="calls past the cache")

    async def all_again() -> bool:
        return await asked_of_the_cache() >= 5

    await eventually(all_again, what="calls by way of the cache again")


async def test_without_early_refresh_movies_are_read_as_ever(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    who = {"authorization": f"Bearer {tokens.issue(mesh_stack.home.tokens, 'switches')}"}
    async with off(mesh_stack, "early-refresh"):
        assert (await api.get(MOVIE, headers=who)).status_code == 200
