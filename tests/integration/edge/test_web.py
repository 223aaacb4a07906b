"""What browsers and older HTTP clients expect: a page for people, HTTP/1.0, trailers where they belong."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from marquee.movies.v1 import movies_pb2
from marquee.rankings.v1 import rankings_pb2

from edge.openapi import VERSION
from tests.support.edge.mesh import Edge, fail, not_found
from tests.support.edge.raw import raw

pytestmark = pytest.mark.usefixtures("answers_may_be_kept")

MOVIE = "/v1/movies/tt0111161"
RATING = "/v1/users/me/ratings/tt0111161"


async def test_every_answer_tells_the_apis_version(edge: Edge) -> None:
    for path in (MOVIE, MOVIE, "/v1/users/me/ratings", "/nope", "/healthz", "/v1/movies:search?query=heat"):
        assert (await edge.http.get(path)).headers["api-version"] == VERSION, path


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
