"""Envoy itself leaves without anybody noticing."""

from collections import Counter

import httpx

from tests.support.edge.mesh import running_edge
from tests.support.waiting import eventually

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
