"""Envoy itself leaves without anybody noticing."""

import asyncio
from collections import Counter

import httpx

from tests.edge.mesh import eventually, running_edge

MOVIE = "/v1/movies/tt0111161"


async def test_a_leaving_edge_serves_on_and_sends_its_clients_elsewhere() -> None:
    async with running_edge() as edge, httpx.AsyncClient(base_url=edge.admin) as admin:
        assert "connection" not in (await edge.http.get(MOVIE)).headers
        await admin.post("/healthcheck/fail")

        async def leaving() -> bool:
            return (await edge.http.get("/readyz")).status_code == 503

        await eventually(leaving, what="503 from /readyz")
        outcomes: Counter[tuple[int, str | None]] = Counter()
        for _ in range(50):
            answer = await edge.http.get(MOVIE)
            outcomes[answer.status_code, answer.headers.get("connection")] += 1
        assert set(outcomes) == {(200, "close")}, outcomes


async def test_a_new_edge_starts_beside_the_old_one_with_the_same_cache() -> None:
    async with running_edge() as old:
        old.service.headers[:] = [("cache-control", "public, max-age=600")]

        async def kept() -> bool:
            return "age" in (await old.http.get(MOVIE)).headers

        await eventually(kept, what="a cached movie")
        async with running_edge(cache_folder=old.folder / "envoy" / "cache") as new:
            answers = await asyncio.gather(*(new.http.get(MOVIE) for _ in range(10)))
            assert {answer.status_code for answer in answers} == {200}
            assert all("age" in answer.headers for answer in answers)
            assert new.service.calls == []
