"""A client that has an answer already is told so, and HEAD tells what GET would."""

import httpx
import pytest

from tests.support.edge.mesh import Edge, fail, long_movie, not_found
from tests.support.edge.raw import raw
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("answers_may_be_kept")

MOVIE = "/v1/movies/tt0111161"


@pytest.mark.parametrize("condition", ['"v1"', 'W/"v1"', '"v0", "v1"', '"v0",W/"v1"', "*"])
async def test_who_has_it_already_is_told_so(edge: Edge, condition: str) -> None:
    answer = await edge.http.get(MOVIE, headers={"if-none-match": condition})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert "content-type" not in answer.headers


async def test_who_has_another_version_gets_this_one(edge: Edge) -> None:
    for condition in ('"v0"', 'W/"v0"', "v1", ""):
        answer = await edge.http.get(MOVIE, headers={"if-none-match": condition})
        assert (answer.status_code, answer.json()["name"]) == (200, "movies/tt0111161")


async def test_conditional_requests_are_served_from_the_cache(edge: Edge) -> None:
    path = "/v1/movies/tt0000002"

    async def cached() -> bool:
        return "age" in (await edge.http.get(path)).headers

    await eventually(cached, what="a cached movie")
    edge.service.calls.clear()
    answers = [await edge.http.get(path, headers={"if-none-match": tag}) for tag in ('"v1"', '"v0"')]
    assert [answer.status_code for answer in answers] == [304, 200]
    assert edge.service.calls == []


async def test_an_error_is_an_error_whatever_the_condition(edge: Edge) -> None:
    edge.service.headers.clear()
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    answer = await edge.http.get("/v1/movies/tt0000404", headers={"if-none-match": "*"})
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"


async def test_304_works_over_http2(edge: Edge) -> None:
    async with httpx.AsyncClient(http1=False, http2=True, base_url=edge.url) as client:
        for _ in range(3):
            assert (await client.get(MOVIE, headers={"if-none-match": '"v1"'})).status_code == 304
        assert (await client.get(MOVIE)).status_code == 200


@pytest.mark.parametrize(
    ("path", "token"),
    [(MOVIE, False), ("/v1/movies:search?query=heat", False), ("/v1/users/me/ratings/tt0111161", True)],
    ids=["cached", "not cached", "with a token"],
)
async def test_head_tells_what_get_would_and_sends_no_body(edge: Edge, path: str, token: bool) -> None:
    headers = {"accept-encoding": "identity", **(edge.bearer() if token else {})}
    got = await edge.http.get(path, headers=headers)
    head = await edge.http.head(path, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["content-type"] == "application/json"
    assert head.headers["etag"] == got.headers["etag"]
    # The connection is still good: no stray byte of a body came after the head.
    assert (await edge.http.get(path, headers=headers)).content == got.content


async def test_head_of_a_long_answer_of_an_error_and_over_http2(edge: Edge) -> None:
    edge.service.headers.clear()
    edge.service.handlers["GetMovie"] = long_movie
    long = await edge.http.head("/v1/movies/tt0000006", headers={"accept-encoding": "gzip, br, zstd"})
    assert (long.status_code, long.content) == (200, b"")
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    missing = await edge.http.head("/v1/movies/tt0000404")
    assert (missing.status_code, missing.content) == (404, b"")
    assert (await edge.http.head("/v1/users/me/ratings")).status_code == 401
    edge.service.handlers.clear()
    async with httpx.AsyncClient(http1=False, http2=True, base_url=edge.url) as client:
        answer = await client.head(MOVIE)
        assert (answer.status_code, answer.content) == (200, b"")


async def test_head_is_served_from_the_cache_and_fills_it(edge: Edge) -> None:
    path = "/v1/movies/tt0000007"

    async def cached() -> bool:
        return "age" in (await edge.http.head(path)).headers

    await eventually(cached, what="a cached movie")
    edge.service.calls.clear()
    got = await edge.http.get(path)
    assert got.json()["name"] == "movies/tt0000007"
    assert "age" in got.headers
    conditional = await edge.http.head(path, headers={"if-none-match": '"v1"'})
    assert conditional.status_code == 304
    assert edge.service.calls == []


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_nothing_follows_a_head_without_a_body(edge: Edge, coding: str) -> None:
    edge.service.handlers["GetMovie"] = long_movie
    edge.service.headers.clear()
    lines = f"host: x\r\nconnection: close\r\naccept-encoding: {coding}\r\n"
    for verb, condition in (
        ("GET", 'if-none-match: W/"v1"\r\n'),
        ("HEAD", 'if-none-match: "v1"\r\n'),
        ("HEAD", ""),
    ):
        request = f"{verb} /v1/movies/tt0000008 HTTP/1.1\r\n{lines}{condition}\r\n"
        head, _, body = (await raw(edge, request)).partition(b"\r\n\r\n")
        assert head.split(b" ")[1] == (b"304" if condition else b"200")
        assert body == b"", (verb, condition)
