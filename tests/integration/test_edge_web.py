"""What browsers and other HTTP clients expect: conditions, compression, other origins."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from marquee.movies.v1 import movies_pb2
from marquee.rankings.v1 import rankings_pb2

from edge.openapi import VERSION
from tests.edge.mesh import Edge, fail, not_found
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"


@pytest.fixture
def edge(edge: Edge) -> Edge:
    edge.service.headers[:] = [("cache-control", "public, max-age=60"), ("etag", '"v1"')]
    return edge


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


async def test_every_answer_tells_the_apis_version(edge: Edge) -> None:
    for path in (MOVIE, MOVIE, "/v1/users/me/ratings", "/nope", "/healthz", "/v1/movies:search?query=heat"):
        assert (await edge.http.get(path)).headers["api-version"] == VERSION, path


async def long_movie(request: Any, context: Any) -> movies_pb2.Movie:
    await context.send_initial_metadata((("etag", '"v1"'),))
    return movies_pb2.Movie(name=request.name, plot="Two imprisoned men bond over a number of years. " * 200)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip;q=0.5, br", "br"),
        ("identity", None),
        ("lzw", None),
    ],
)
async def test_long_answers_are_compressed_as_the_client_likes(
    edge: Edge, accepted: str, coding: str | None
) -> None:
    edge.service.headers.clear()
    edge.service.handlers["GetMovie"] = long_movie
    request = edge.http.build_request("GET", "/v1/movies/tt0000003", headers={"accept-encoding": accepted})
    answer = await edge.http.send(request, stream=True)
    raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == coding
    if coding:
        assert len(raw) < 2000
        assert answer.headers["vary"].lower() == "accept-encoding"
    if coding == "gzip":
        assert b"Two imprisoned men" in gzip.decompress(raw)


async def test_a_compressed_answer_keeps_its_etag_as_a_weak_one(edge: Edge) -> None:
    edge.service.headers.clear()
    edge.service.handlers["GetMovie"] = long_movie
    headers = {"accept-encoding": "gzip"}
    first = await edge.http.get("/v1/movies/tt0000004", headers=headers)
    assert first.headers["etag"] == 'W/"v1"'
    again = await edge.http.get(
        "/v1/movies/tt0000004", headers={**headers, "if-none-match": first.headers["etag"]}
    )
    assert again.status_code == 304


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


async def test_short_answers_and_streams_are_not_compressed(edge: Edge) -> None:
    headers = {"accept-encoding": "gzip, br, zstd"}
    assert "content-encoding" not in (await edge.http.get(MOVIE, headers=headers)).headers

    async def long_lines(request: Any, _context: Any) -> AsyncIterator[rankings_pb2.Score]:
        yield rankings_pb2.Score(name=request.name, histogram=[1000000] * 1000)
        await asyncio.sleep(30)

    edge.service.handlers["WatchScore"] = long_lines
    async with edge.http.stream("GET", MOVIE + "/score:watch", headers=headers) as stream:
        assert "content-encoding" not in stream.headers
        line = await asyncio.wait_for(anext(stream.aiter_lines()), 5)
    assert line.startswith("{")


async def test_a_page_of_another_origin_may_ask_first(edge: Edge) -> None:
    preflight = await edge.http.options(
        "/v1/users/me/ratings/tt0111161",
        headers={
            "origin": "https://fans.example",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "authorization, content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert edge.service.calls == []


async def test_a_page_of_another_origin_reads_answers_and_errors(edge: Edge) -> None:
    origin = {"origin": "https://fans.example"}
    for path, status in ((MOVIE, 200), ("/v1/users/me/ratings", 401)):
        answer = await edge.http.get(path, headers=origin)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "etag" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers, "there are no cookies to send"


async def test_all_origins_are_answered_alike_so_that_no_cache_mixes_them_up(edge: Edge) -> None:
    for path in ("/v1/movies/tt0000005", "/v1/movies/tt0000005", "/v1/movies:search?query=heat"):
        for origin in ("https://a.example", "https://b.example"):
            answer = await edge.http.get(path, headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in (await edge.http.get("/v1/movies/tt0000005")).headers


@pytest.mark.parametrize("path", ["/v1/movies/tt0000017", "/v1/movies:search?query=heat"])
@pytest.mark.parametrize("kept", [True, False])
async def test_a_single_answer_has_no_trailers(edge: Edge, path: str, kept: bool) -> None:
    async def one(request: Any, context: Any) -> movies_pb2.Movie:
        return movies_pb2.Movie(name=request.name, plot="Two imprisoned men. " * 200)

    async def long_list(request: Any, context: Any) -> movies_pb2.SearchMoviesResponse:
        return movies_pb2.SearchMoviesResponse(movies=[movies_pb2.Movie(plot="Two imprisoned men. " * 200)])

    edge.service.headers[:] = [("cache-control", "public, max-age=60")] if kept else []
    edge.service.handlers["GetMovie"] = one
    edge.service.handlers["SearchMovies"] = long_list
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept-encoding: gzip\r\n\r\n"
    for _ in range(2):
        whole = await raw(edge, request)
        assert b"content-encoding: gzip" in whole
        assert b"grpc-" not in whole


async def test_a_stream_that_ends_says_in_its_trailers_how(edge: Edge) -> None:
    async def broken(request: Any, context: Any) -> AsyncIterator[rankings_pb2.Score]:
        yield rankings_pb2.Score(name=request.name, votes=1)
        await fail(context, not_found(request.name))

    whole = await raw_stream(edge)
    assert b"\r\ngrpc-status: 0\r\n" in whole
    edge.service.handlers["WatchScore"] = broken
    cut = await raw_stream(edge)
    assert b'"votes":1' in cut
    assert b"\r\ngrpc-status: 5\r\n" in cut


async def raw_stream(edge: Edge) -> bytes:
    return await raw(edge, f"GET {MOVIE}/score:watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")


async def raw(edge: Edge, request: str) -> bytes:
    """All that the edge sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    writer.write(request.encode())
    received = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return received
