"""The whole mesh, as a client and as an operator meet it: through the edge, on real parts."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from edge import tokens
from local.commands import admin
from local.stack import certificates
from local.stack.layout import Stack

MOVIE = "tt0111161"
MINE = f"/v1/users/me/ratings/{MOVIE}"


@pytest.fixture(scope="module")
async def api(mesh_stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://{mesh_stack.address('envoy', 'edge')}"
    async with httpx.AsyncClient(base_url=url, timeout=15) as client:
        yield client


@pytest.fixture
def user(mesh_stack: Stack) -> dict[str, str]:
    """The headers of somebody new."""
    return headers_of(mesh_stack, f"user-{uuid.uuid4()}")


def headers_of(stack: Stack, subject: str, ttl_s: int = 600) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.issue(stack.home.tokens, subject, ttl_s=ttl_s)}"}


async def until(
    api: httpx.AsyncClient, path: str, fits: Callable[[Any], bool], headers: dict[str, str] | None = None
) -> Any:
    """Reads a path until its answer fits; fails after a minute, showing the last one."""
    deadline = time.monotonic() + 60
    while True:
        answer = await api.get(path, headers=headers)
        if answer.status_code == 200 and fits(answer.json()):
            return answer.json()
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.1)


async def test_a_movie_comes_from_omdb_and_then_from_here(api: httpx.AsyncClient) -> None:
    answer = await api.get(f"/v1/movies/{MOVIE}")
    assert answer.status_code == 200
    movie = answer.json()
    assert (movie["name"], movie["title"], movie["year"]) == (
        f"movies/{MOVIE}",
        "The Shawshank Redemption",
        1994,
    )
    # `no-cache` asks the edge for a new answer, not for its own copy.
    again = await api.get(f"/v1/movies/{MOVIE}", headers={"cache-control": "no-cache"})
    assert again.json() == movie
    assert again.headers["x-marquee-source"] != "omdb"
    assert again.headers["etag"] == answer.headers["etag"]


async def test_a_full_plot_comes_through_the_edge_with_an_etag_of_its_own(api: httpx.AsyncClient) -> None:
    short = await api.get(f"/v1/movies/{MOVIE}")
    full = await api.get(f"/v1/movies/{MOVIE}?fullPlot=true")
    assert full.status_code == 200, full.text
    plot = full.json().get("fullPlot")
    assert (full.headers["etag"] == short.headers["etag"]) == (plot is None)


async def test_a_rating_is_read_back_at_once_then_stored_counted_and_charted(
    api: httpx.AsyncClient, user: dict[str, str]
) -> None:
    before = (await api.get(f"/v1/movies/{MOVIE}/score", headers={"cache-control": "no-cache"})).json()
    rated = await api.put(MINE, json={"score": 9}, headers=user)
    assert rated.status_code == 200
    assert rated.json()["state"] == "STATE_PENDING"
    read = (await api.get(MINE, headers=user)).json()
    assert read["score"] == 9
    listed = (await api.get("/v1/users/me/ratings", headers=user)).json()["ratings"]
    assert [(r["movie"], r["score"]) for r in listed] == [(f"movies/{MOVIE}", 9)]

    await until(api, MINE, lambda r: r["state"] == "STATE_ACTIVE", user)
    score = await until(api, f"/v1/movies/{MOVIE}/score", lambda s: s["votes"] == before["votes"] + 1)
    assert score["histogram"][8] == before["histogram"][8] + 1
    await until(
        api,
        "/v1/charts/top-rated",
        lambda chart: any(
            e["movie"] == f"movies/{MOVIE}" and e["title"] == "The Shawshank Redemption"
            for e in chart["entries"]
        ),
    )

    deleted = await api.delete(MINE, headers=user)
    assert (deleted.status_code, deleted.json()["state"]) == (200, "STATE_DELETED")
    assert (await api.get(MINE, headers=user)).status_code == 404
    await until(api, f"/v1/movies/{MOVIE}/score", lambda s: s["votes"] == before["votes"])


async def test_a_repeated_request_id_takes_effect_once(
    api: httpx.AsyncClient, user: dict[str, str], mesh_stack: Stack
) -> None:
    movie = "tt0068646"
    path = f"/v1/users/me/ratings/{movie}"
    first = {"score": 3, "requestId": str(uuid.uuid4())}
    threes = await of_three(mesh_stack, movie)
    assert (await api.put(path, json=first, headers=user)).status_code == 200
    assert (await api.put(path, json={"score": 8}, headers=user)).status_code == 200
    # A client that did not hear the first answer sends it again, late.
    assert (await api.put(path, json=first, headers=user)).status_code == 200
    shown = await until(api, path, lambda r: r["state"] == "STATE_ACTIVE", user)
    assert shown["score"] == 8
    await until(api, f"/v1/movies/{movie}/score", lambda s: s["votes"] >= 1 and s["histogram"][7] >= 1)
    assert await of_three(mesh_stack, movie) == threes


async def of_three(stack: Stack, movie: str) -> int:
    """How many ratings of a movie have three points."""
    totals = await asyncio.to_thread(admin.totals, stack)
    return totals.histograms[movie][2] if movie in totals.histograms else 0


async def test_nobody_reaches_anybody_elses_ratings(
    api: httpx.AsyncClient, user: dict[str, str], mesh_stack: Stack
) -> None:
    await api.put(MINE, json={"score": 5}, headers=user)
    other = headers_of(mesh_stack, "somebody-else")
    assert (await api.get(MINE, headers=other)).status_code == 404
    named = await api.get(f"/v1/users/somebody/ratings/{MOVIE}", headers=user)
    assert named.status_code == 403


BAD_REQUESTS = [
    # method, path, body, the status, what the error must name
    ("GET", "/v1/movies/xx", None, 400, "name"),
    ("GET", "/v1/movies/tt12", None, 400, "name"),
    ("GET", "/v1/movies/tt%ff%fe", None, 400, ""),
    ("GET", "/v1/movies:batchGet", None, 400, "names"),
    ("GET", "/v1/movies:batchGet?names=" + "&names=".join(["movies/tt0000001"] * 101), None, 400, "names"),
    ("GET", "/v1/movies:search?query=", None, 400, "query"),
    ("GET", "/v1/movies:search?query=batman&year=12", None, 400, "year"),
    ("GET", "/v1/movies:search?query=batman&pageSize=-1", None, 400, "page_size"),
    ("GET", "/v1/movies:search?query=batman&pageToken=Zm9yZ2Vk", None, 400, "page_token"),
    ("GET", "/v1/movies:search?query=batman&type=CARTOON", None, 400, "type"),
    ("GET", "/v1/movies:lookup", None, 400, "title"),
    ("GET", "/v1/movies?orderBy=nonsense", None, 400, "order_by"),
    ("GET", f"/v1/movies/{MOVIE}?readMask=nonsense", None, 400, "read_mask"),
    ("GET", f"/v1/movies/{MOVIE}?nonsense=1", None, 400, "nonsense"),
    ("GET", "/v1/movies/xx/score", None, 400, "name"),
    ("GET", "/v1/charts/top-rated?pageSize=-1", None, 400, "page_size"),
    ("GET", "/v1/charts/top-rated?pageSize=many", None, 400, "page_size"),
    ("GET", "/v1/charts/top-rated?decade=1994", None, 400, "decade"),
    ("GET", "/v1/charts/top-rated?minVotes=-1", None, 400, "min_votes"),
    ("GET", "/v1/charts/top-rated?pageToken=Zm9yZ2Vk", None, 400, "page_token"),
    ("GET", "/v1/charts/trending?window=YEAR", None, 400, "window"),
    ("GET", "/v1/nothing", None, 404, ""),
    ("POST", f"/v1/movies/{MOVIE}", b"{}", 405, ""),
    ("PUT", MINE, b'{"score": 0}', 400, "score"),
    ("PUT", MINE, b'{"score": 11}', 400, "score"),
    ("PUT", MINE, b'{"score": -3}', 400, "score"),
    ("PUT", MINE, b'{"score": 5.5}', 400, "score"),
    ("PUT", MINE, b'{"score": "ten"}', 400, "score"),
    ("PUT", MINE, b'{"score": 1e400}', 400, ""),
    ("PUT", MINE, b'{"score": 99999999999}', 400, "score"),
    ("PUT", MINE, b'{"score": 5, "stars": 5}', 400, "stars"),
    ("PUT", MINE, b'{"score": 5, "requestId": "me"}', 400, "request_id"),
    ("PUT", MINE, b'{"score": 5', 400, ""),
    ("PUT", MINE, b'{"score": 5, "requestId": "\xff\xfe"}', 400, ""),
    ("PUT", MINE, b"[" * 20_000, 400, ""),
    ("PUT", MINE, b" " * 2_000_000 + b'{"score": 5}', 413, ""),
    ("PUT", "/v1/users/me/ratings/xx", b'{"score": 5}', 400, "name"),
    ("GET", "/v1/users/me/ratings?pageSize=-5", None, 400, "page_size"),
    ("GET", "/v1/users/me/ratings?pageToken=Zm9yZ2Vk", None, 400, "page_token"),
    ("GET", "/v1/users/me/ratings?minScore=11", None, 400, "min_score"),
    ("POST", "/v1/users/me/ratings:batchRate", b'{"requests": []}', 400, "requests"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "named"),
    BAD_REQUESTS,
    ids=[f"{m} {p[:60]} {(b or b'')[:40]!r}" for m, p, b, _, _ in BAD_REQUESTS],
)
async def test_bad_input_gets_an_error_that_names_what_is_wrong(
    api: httpx.AsyncClient,
    user: dict[str, str],
    method: str,
    path: str,
    body: bytes | None,
    status: int,
    named: str,
) -> None:
    headers = {**user, **({"content-type": "application/json"} if body is not None else {})}
    answer = await api.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert error["status"].isupper()
    assert error["message"]
    assert named in json.dumps(error)
    assert "grpc-status" not in answer.headers


async def test_a_rating_wants_a_token_that_is_valid(api: httpx.AsyncClient, mesh_stack: Stack) -> None:
    expired = headers_of(mesh_stack, "late", ttl_s=-60)
    forged = {"authorization": headers_of(mesh_stack, "mallory")["authorization"][:-8] + "AAAAAAAA"}
    for headers in ({}, expired, forged, {"x-marquee-subject": "admin"}):
        answer = await api.put(MINE, json={"score": 10}, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


async def test_aggregates_agree_with_a_recount(mesh_stack: Stack) -> None:
    answer = await asyncio.to_thread(admin.reconcile, mesh_stack)
    assert answer.compared >= 1
    assert answer.differing == 0


async def test_certificates_rotate_under_load_without_a_lost_request(
    api: httpx.AsyncClient, user: dict[str, str], mesh_stack: Stack
) -> None:
    assert (await api.put(MINE, json={"score": 1}, headers=user)).status_code == 200
    done = asyncio.Event()
    codes: list[int] = []

    async def read() -> None:
        while not done.is_set():
            codes.append((await api.get(MINE, headers=user)).status_code)

    async def write() -> None:
        while not done.is_set():
            codes.append((await api.put(MINE, json={"score": 7}, headers=user)).status_code)

    async def rotate() -> None:
        for _ in range(2):
            before = len(codes)
            await asyncio.to_thread(certificates.ensure, mesh_stack.home, rotate=True)
            # Long enough that every process has looked at its files again, and talked since.
            began = time.monotonic()
            while len(codes) < before + 200 or time.monotonic() < began + 2.5:
                await asyncio.sleep(0.1)
        done.set()

    await asyncio.gather(read(), write(), rotate())
    assert set(codes) == {200}
