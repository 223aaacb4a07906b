"""Long answers are compressed as the client likes; short ones and streams are not."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from marquee.rankings.v1 import rankings_pb2

from tests.support.edge.mesh import Edge, long_movie

pytestmark = pytest.mark.usefixtures("answers_may_be_kept")

MOVIE = "/v1/movies/tt0111161"


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


async def test_short_answers_and_streams_are_not_compressed(edge: Edge) -> None:
    headers = {"accept-encoding": "gzip, br, zstd"}
    assert "content-encoding" not in (await edge.http.get(MOVIE, headers=headers)).headers

    async def long_lines(request: Any, _context: Any) -> AsyncIterator[rankings_pb2.Score]:
        yield rankings_pb2.Score(name=request.name, histogram=[1000000] * 1000)
        await asyncio.sleep(30)

    edge.service.handlers["WatchScore"] = long_lines
    async with edge.http.stream("GET", MOVIE + "/score:watch", headers=headers) as stream:
        assert "content-encoding" not in stream.headers
        line = await asyncio.wait_for(anext(stream.aiter_lines()), 30)
    assert line.startswith("{")
