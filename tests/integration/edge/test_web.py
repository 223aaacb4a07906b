"""What browsers and other HTTP clients expect: conditions, compression, other origins."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from marquee.movies.v1 import movies_pb2
from marquee.rankings.v1 import rankings_pb2

from edge.openapi import VERSION
from tests.support.edge.mesh import Edge, fail, not_found, rich_error
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


ORIGIN = {"origin": "https://fans.example"}
LONG = {"x-long": "y" * 60_000}
MANY = {f"x-{number}": "y" for number in range(120)}
RATING = "/v1/users/me/ratings/tt0111161"
ERRORS: list[tuple[str, str, dict[str, str], int]] = [
    ("GET", "/nope", {}, 404),
    ("GET", "/", {}, 404),
    ("GET", "/v1/movies/tt1/", {}, 404),
    ("GET", "/v1/movies?nope=1", {}, 400),
    ("GET", "/v1/movies/%ff", {}, 400),
    ("GET", "/v1/movies/tt%00", {}, 400),
    ("GET", "/v1/movies/tt1?name=movies/tt2", {}, 400),
    ("GET", RATING, {}, 401),
    ("GET", RATING, {"authorization": "Basic YTpi"}, 401),
    ("GET", RATING, {"authorization": "Bearer x.y.z"}, 401),
    ("GET", "/v1/movies/tt1", {"authorization": "Bearer x.y.z"}, 401),
    ("POST", "/v1/movies/tt1", {}, 405),
    ("POST", "/docs", {}, 405),
    ("QUERY", "/v1/movies/tt1", {}, 405),
    ("PUT", RATING, {"content-type": "text/plain"}, 415),
    ("PUT", RATING, {"content-type": "application/json", "content-encoding": "gzip"}, 415),
    ("GET", "/v1/movies/tt1", LONG, 431),
    ("GET", "/v1/movies/tt1", MANY, 431),
]


@pytest.mark.parametrize(
    ("verb", "path", "headers", "status"),
    ERRORS,
    ids=[f"{verb} {path} {next(iter(headers), '')} {status}" for verb, path, headers, status in ERRORS],
)
async def test_a_page_of_another_origin_can_read_every_refusal(
    edge: Edge, verb: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await edge.http.request(
        verb, path, headers={**ORIGIN, **headers}, content=b"{}" if verb == "PUT" else None
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    for name in ("access-control-allow-origin", "access-control-expose-headers"):
        assert len(answer.headers.get_list(name)) == 1, name
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_a_page_of_another_origin_can_read_what_services_refuse(edge: Edge) -> None:
    edge.service.headers.clear()
    for code, status in (
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ):
        refuse = rich_error(code, "no")
        edge.service.handlers["GetMovie"] = lambda _, context, refuse=refuse: fail(context, refuse)
        answer = await edge.http.get("/v1/movies/tt0000404", headers=ORIGIN)
        assert answer.status_code == status
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    big = await edge.http.put(
        RATING,
        content=b"x" * 1_200_000,
        headers={**ORIGIN, **edge.bearer(), "content-type": "application/json"},
    )
    assert (big.status_code, big.headers.get_list("access-control-allow-origin")) == (413, ["*"])


async def test_the_edges_own_pages_can_be_read_from_anywhere(edge: Edge) -> None:
    for path in ("/openapi.json", "/docs", "/healthz", "/readyz"):
        answer = await edge.http.get(path, headers=ORIGIN)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


async def preflight(edge: Edge, path: str, verb: str, *headers: str) -> httpx.Response:
    asked = {"access-control-request-method": verb, "access-control-request-headers": ", ".join(headers)}
    return await edge.http.options(path, headers={**ORIGIN, **asked})


@pytest.mark.parametrize("path", [MOVIE, RATING, "/openapi.json", "/docs", "/nope", "/marquee.x.v1.X/Y"])
async def test_a_page_may_ask_before_any_call(edge: Edge, path: str) -> None:
    answer = await preflight(edge, path, "GET", "authorization")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


async def test_a_page_may_send_what_the_docs_speak_of(edge: Edge) -> None:
    root = Path(__file__).parents[3]
    docs = "".join(page.read_text() for page in [root / "README.md", *(root / "docs").rglob("*.md")])
    named = {name.lower() for name in re.findall(r"""-H ['"]([A-Za-z-]+):""", docs)}
    named |= set(re.findall(r"\bsends? `([a-z-]+): ", docs))
    named.discard("marquee-trace")  # an operator's key: no page has it
    assert {"authorization", "content-type", "marquee-release", "cache-control"} <= named
    # And what the edge or the services look at in a request, or hand on for traces.
    named |= {"if-none-match", "x-request-id", "traceparent", "tracestate", "marquee-client", "grpc-timeout"}
    allowed = (await preflight(edge, MOVIE, "GET", *named)).headers["access-control-allow-headers"]
    assert named <= set(re.split(r",\s*", allowed))


async def test_a_page_can_read_every_header_that_answers_have(edge: Edge) -> None:
    edge.service.headers[:] = [
        ("etag", '"v1"'),
        ("cache-control", "public, max-age=1"),
        ("x-marquee-source", "omdb"),
    ]
    calls = [
        ("GET", MOVIE),
        ("GET", RATING),
        ("POST", MOVIE),
        ("GET", "/nope"),
        ("GET", "/v1/movies:search?query=ab"),
    ]
    # Any page may read these (Fetch, 2.2.2), or none needs to: they are between client and edge.
    needless = {
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "last-modified",
    }
    needless |= {"connection", "transfer-encoding", "server", "vary", "content-encoding"}
    for verb, path in calls:
        answer = await edge.http.request(verb, path, headers=ORIGIN)
        exposed = set(re.split(r",\s*", answer.headers["access-control-expose-headers"]))
        unread = (
            {name for name in answer.headers if not name.startswith("access-control-")} - needless - exposed
        )
        assert not unread, (verb, path)


BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_people_find_a_page_at_the_root_and_programs_an_error(edge: Edge) -> None:
    page = await edge.http.get("/", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")
    for path in re.findall(r'(?:href|src)="(/[^"]+)"', page.text):
        assert (await edge.http.get(path)).status_code == 200, path
    for accept in ("application/json", "*/*", ""):
        answer = await edge.http.get("/", headers={"accept": accept})
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
        assert answer.headers["vary"] == page.headers["vary"] == "accept"
        assert "/docs" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz"])
async def test_head_works_on_the_edges_own_pages(edge: Edge, path: str) -> None:
    got, head = [await edge.http.request(verb, path, headers=BROWSER) for verb in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_readiness_is_no_error(edge: Edge) -> None:
    assert (await edge.http.get("/readyz")).text == "ok\n"


async def test_a_slash_after_the_docs_leads_there(edge: Edge) -> None:
    answer = await edge.http.get("/docs/")
    assert answer.status_code == 301
    assert answer.headers["location"].endswith("/docs")


@pytest.mark.parametrize("host", ["host: x\r\n", ""])
async def test_http_1_0_is_served_as_nginx_sends_it(edge: Edge, host: str) -> None:
    edge.service.handlers["SearchMovies"] = long_list
    for path, words in (
        (MOVIE, b"Shawshank"),
        ("/v1/movies:search?query=ab", b"imprisoned"),
        ("/docs", b"<html"),
    ):
        for _ in range(2):
            head, _, body = (await raw(edge, f"GET {path} HTTP/1.0\r\n{host}\r\n")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 200 OK")
            assert b"transfer-encoding" not in head, "HTTP/1.0 has no chunks"
            assert words in body
    stream = await raw(edge, f"GET {MOVIE}/score:watch HTTP/1.0\r\n{host}\r\n")
    lines = stream.partition(b"\r\n\r\n")[2].splitlines()
    assert [json.loads(line)["votes"] for line in lines] == [1, 2]
    refused = await raw(edge, f"GET {RATING} HTTP/1.0\r\n{host}\r\n")
    assert refused.startswith(b"HTTP/1.0 401")
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["status"] == "UNAUTHENTICATED"
    body = b'{"score":7}'
    rated = await raw(
        edge,
        f"PUT {RATING} HTTP/1.0\r\n{host}authorization: Bearer {edge.token()}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body.decode()}",
    )
    assert rated.startswith(b"HTTP/1.0 200")


async def long_list(request: Any, context: Any) -> movies_pb2.SearchMoviesResponse:
    return movies_pb2.SearchMoviesResponse(movies=[movies_pb2.Movie(plot="Two imprisoned men. " * 5000)])


@pytest.mark.parametrize("path", ["/v1/movies/tt0000017", "/v1/movies:search?query=long"])
@pytest.mark.parametrize("kept", [True, False])
async def test_a_single_answer_has_no_trailers(edge: Edge, path: str, kept: bool) -> None:
    async def one(request: Any, context: Any) -> movies_pb2.Movie:
        return movies_pb2.Movie(name=request.name, plot="Two imprisoned men. " * 200)

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
