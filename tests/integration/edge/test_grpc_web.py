"""gRPC from a browser, as its clients speak it over HTTP/1.1.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from marquee.movies.v1 import movies_pb2
from marquee.ratings.v1 import ratings_pb2

from tests.support.edge.mesh import Edge, fail, not_found

_TRAILERS = 0x80
MOVIES = "/marquee.movies.v1.MovieService"
RATINGS = "/marquee.ratings.v1.RatingService"
MOVIE = movies_pb2.GetMovieRequest(name="movies/tt0111161")


async def call(
    edge: Edge, path: str, request: Message, *, text: bool = False, **headers: str
) -> tuple[httpx.Response, list[bytes], dict[str, str]]:
    """Returns the answer, the messages in it, and its trailers."""
    data = request.SerializeToString()
    body = struct.pack(">BI", 0, len(data)) + data
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    answer = await edge.http.post(
        path,
        content=base64.b64encode(body) if text else body,
        headers={"content-type": kind, "accept": kind, "x-grpc-web": "1", **headers},
    )
    content = decoded(answer.content) if text else answer.content
    messages: list[bytes] = []
    trailers: dict[str, str] = {}
    for flags, payload in frames(content):
        if flags & _TRAILERS:
            lines = payload.decode().strip().split("\r\n")
            trailers = {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
        else:
            messages.append(payload)
    return answer, messages, trailers


def decoded(content: bytes) -> bytes:
    """Base64 of which each piece that was sent has padding of its own."""
    return b"".join(base64.b64decode(content[at : at + 4]) for at in range(0, len(content), 4))


def frames(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        flags, length = struct.unpack_from(">BI", content, at)
        yield flags, content[at + 5 : at + 5 + length]
        at += 5 + length


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_a_browser_calls_an_rpc(edge: Edge, text: bool) -> None:
    answer, messages, trailers = await call(edge, f"{MOVIES}/GetMovie", MOVIE, text=text)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/grpc-web")
    (message,) = messages
    assert movies_pb2.Movie.FromString(message).title == "The Shawshank Redemption"
    assert trailers["grpc-status"] == "0"
    assert edge.service.calls[-1].request == MOVIE


async def test_a_stream_comes_message_by_message(edge: Edge) -> None:
    request = ratings_pb2.ExportRatingsRequest(parent="users/me")
    _, messages, trailers = await call(edge, f"{RATINGS}/ExportRatings", request, **edge.bearer())
    assert [ratings_pb2.Rating.FromString(message).score for message in messages] == [1, 2, 3]
    assert trailers["grpc-status"] == "0"


async def test_an_error_keeps_its_code(edge: Edge) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    answer, messages, trailers = await call(edge, f"{MOVIES}/GetMovie", MOVIE)
    assert messages == []
    assert {**answer.headers, **trailers}["grpc-status"] == "5"


@pytest.mark.parametrize("headers", [{}, {"x-marquee-subject": "alice"}], ids=["none", "spoofed"])
async def test_a_rating_wants_a_token_here_too(edge: Edge, headers: dict[str, Any]) -> None:
    request = ratings_pb2.RateMovieRequest(name="users/me/ratings/tt0111161", score=9)
    answer, _, trailers = await call(edge, f"{RATINGS}/RateMovie", request, **headers)
    refused = trailers.get("grpc-status") or answer.headers.get("grpc-status")
    assert answer.status_code == 401 or refused == "16"
    assert edge.service.calls == []


async def test_internal_rpcs_are_not_for_browsers_either(edge: Edge) -> None:
    path = "/marquee.ratings.v1.RatingTotalsService/StreamTotals"
    headers = {"content-type": "application/grpc-web+proto", **edge.bearer()}
    answer = await edge.http.post(path, content=b"\0\0\0\0\0", headers=headers)
    assert answer.status_code == 404
    assert edge.service.calls == []


async def test_a_page_of_another_origin_may(edge: Edge) -> None:
    answer = await edge.http.options(
        f"{MOVIES}/GetMovie",
        headers={
            "origin": "https://films.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,x-grpc-web,grpc-timeout",
        },
    )
    assert answer.status_code == 200
    assert {"x-grpc-web", "grpc-timeout"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert "grpc-status" in answer.headers["access-control-expose-headers"]
