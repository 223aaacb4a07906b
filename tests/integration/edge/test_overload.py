"""More than a service, or the edge itself, can do: some are refused at once, and the others are served."""

import asyncio
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from marquee.movies.v1 import movies_pb2

from edge.limits import DEFAULT_FILE
from tests.support.edge.mesh import Edge, running_edge
from tests.support.waiting import eventually

SEARCH = "/v1/movies:search?query=heat"
CLIENTS = 60
AT_ONCE, WORK_S = 2, 0.1  # of the service: twenty calls a second


def few_at_once(path: Path) -> Path:
    text = DEFAULT_FILE.read_text().replace("calls_always_under_way: 64", "calls_always_under_way: 8")
    path.write_text(text.replace("burst: 500,", "burst: 1000000,"))
    return path


def slow_service(edge: Edge) -> list[int]:
    """Says how many calls were under way whenever one more came."""
    turns = asyncio.Semaphore(AT_ONCE)
    waiting = 0
    seen = []

    async def search(_request: Any, _context: Any) -> movies_pb2.SearchMoviesResponse:
        nonlocal waiting
        waiting += 1
        seen.append(waiting)
        try:
            async with turns:
                await asyncio.sleep(WORK_S)
        finally:
            waiting -= 1
        return movies_pb2.SearchMoviesResponse()

    edge.service.handlers["SearchMovies"] = search
    return seen


async def test_an_overloaded_service_goes_on_at_its_pace(tmp_path: Path) -> None:
    async with running_edge(limits_file=few_at_once(tmp_path / "limits.yaml")) as edge:
        seen = slow_service(edge)
        refused: list[httpx.Response] = []
        statuses: Counter[int] = Counter()
        limits = httpx.Limits(max_connections=CLIENTS)
        began, first_refusal = time.monotonic(), float("inf")

        async def client(http: httpx.AsyncClient) -> None:
            nonlocal first_refusal
            # Long enough for the edge to find the pace, and until what the service can do has been done.
            while time.monotonic() - began < 8 or statuses[200] <= 50:
                asked = time.monotonic()
                answer = await http.get(SEARCH)
                if answer.status_code == 504 and asked < first_refusal:
                    continue  # The edge had not found the pace: a busy machine does not get to all.
                statuses[answer.status_code] += 1
                if answer.status_code == 503:
                    first_refusal = min(first_refusal, time.monotonic())
                    refused.append(answer)
                    await asyncio.sleep(0.5)

        async with httpx.AsyncClient(base_url=edge.url, timeout=20, limits=limits) as http:
            async with asyncio.timeout(120):
                await asyncio.gather(*(client(http) for _ in range(CLIENTS)))

        assert statistics.median(seen) < 0.75 * CLIENTS, "not all of them wait in the service"
        in_vain = statuses.pop(504, 0)
        assert in_vain <= statuses.total() * 0.05, (in_vain, statuses)
        assert set(statuses) == {200, 503}, statuses
        # On a machine that is busy otherwise, the service may for a moment look unhealthy too.
        causes = {answer.json()["error"]["details"][0]["metadata"]["cause"] for answer in refused}
        assert "reached_concurrency_limit" in causes
        assert int(refused[0].headers["retry-after"]) >= 1
        # Other services don't feel it, and neither does this one when it is over.
        assert (await edge.http.get("/v1/users/me/ratings", headers=edge.bearer())).status_code == 200

        async def calm() -> bool:
            return [(await edge.http.get(SEARCH)).status_code for _ in range(20)] == [200] * 20

        await eventually(calm)


async def test_slow_senders_do_not_take_the_places_of_others(tmp_path: Path) -> None:
    async with running_edge(limits_file=few_at_once(tmp_path / "limits.yaml")) as edge:
        rating = "/v1/users/me/ratings/tt0111161"
        lines = f"host: x\r\nauthorization: Bearer {edge.token('eve')}\r\ncontent-type: application/json\r\n"
        head = f"PUT {rating} HTTP/1.1\r\n{lines}content-length: 100\r\n\r\n{{"
        writers = []
        for _ in range(30):  # more than may be under way at first
            _, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
            writer.write(head.encode())
            writers.append(writer)
        active = "http.edge.downstream_rq_active"

        async def waiting() -> bool:
            return (await edge.stats(f"^{active}$"))[active] >= 30

        await eventually(waiting, what="thirty half-sent requests")
        answer = await edge.http.put(rating, json={"score": 7}, headers=edge.bearer())
        assert answer.status_code == 200
        for writer in writers:
            writer.close()


async def test_an_edge_short_of_memory_refuses_instead_of_dying(tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    text = DEFAULT_FILE.read_text()
    limits.write_text(text.replace("max_heap_bytes: 536870912", "max_heap_bytes: 1000000"))
    async with running_edge(limits_file=limits, expect_ready=False, expect_status=503) as edge:
        for _ in range(20):
            answer = await edge.http.get(SEARCH)
            assert answer.status_code == 503
            assert answer.json()["error"]["status"] == "UNAVAILABLE"
            assert answer.headers["retry-after"] == "1"
        assert edge.process.returncode is None
        assert edge.service.calls == []
