"""Bodies that come byte by byte: in time they are taken, and too late they cost nobody but their sender."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from marquee.ratings.v1 import ratings_pb2

from edge import policies
from edge.limits import DEFAULT_FILE
from tests.support.edge.mesh import Edge, running_edge

RATING = "/v1/users/me/ratings/tt0111161"
GRPC = "/marquee.ratings.v1.RatingService/RateMovie"
TIMEOUT_S, UPLOAD_S = 3.0, 1.5
BOUND_S = TIMEOUT_S + UPLOAD_S
BODY = b'{"score": 7}'


@pytest.fixture
async def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edge]:
    """With the bounds of writes shortened, and four places for calls to a service."""
    table = policies.load_table()
    for kind in ("write", "batch_write"):
        table["classes"][kind] |= {"timeout": f"{TIMEOUT_S:g}s", "upload": f"{UPLOAD_S:g}s"}
    monkeypatch.setattr(policies, "load_table", lambda: table)
    limits = tmp_path / "limits.yaml"
    text = DEFAULT_FILE.read_text().replace("calls_always_under_way: 64", "calls_always_under_way: 4")
    limits.write_text(text.replace("max_calls_under_way: 2048", "max_calls_under_way: 4"))
    async with running_edge(limits_file=limits) as edge:
        yield edge


@dataclass
class Response:
    """What a dribbler got, and when, counted from the request's first byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    after_s: float
    sent: int
    """Bytes of the body that were sent before it."""
    trailers: dict[str, str] = field(default_factory=dict)


async def over_http1(
    edge: Edge, verb: str, path: str, headers: dict[str, str], body: bytes, gap_s: float
) -> Response:
    """Sends a body a byte at a time until there is an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    lines = [
        f"{verb} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in {"host": "x", **headers}.items()),
        f"content-length: {len(body)}",
    ]

    async def read() -> Response:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().strip()
        first, *fields = head.split("\r\n")
        found = dict(line.lower().split(": ", 1) for line in fields)
        content = await reader.readexactly(int(found["content-length"]))
        return Response(int(first.split()[1]), found, content, time.monotonic() - began, sent)

    began = time.monotonic()
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    answered = asyncio.create_task(read())
    for sent in range(1, len(body) + 1):
        writer.write(body[sent - 1 : sent])
        await asyncio.wait([answered], timeout=gap_s)
        if answered.done():
            break
    answer = await asyncio.wait_for(answered, 60)
    writer.close()
    return answer


async def over_http2(
    edge: Edge, verb: str, path: str, headers: dict[str, str], body: bytes, gap_s: float
) -> Response:
    """The same on a stream of HTTP/2 without TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    pseudo = {":method": verb, ":path": path, ":scheme": "http", ":authority": "x"}
    began = time.monotonic()
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, list((pseudo | headers).items()))
    writer.write(connection.data_to_send())
    answer = Response(0, {}, b"", 0.0, 0)

    async def read() -> None:
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        answer.headers = {str(name): str(value) for name, value in event.headers}
                        answer.status = int(answer.headers[":status"])
                    case h2.events.DataReceived():
                        answer.body += event.data
                    case h2.events.TrailersReceived():
                        answer.trailers = {str(name): str(value) for name, value in event.headers}
                    case h2.events.StreamEnded() | h2.events.StreamReset():
                        return
            writer.write(connection.data_to_send())

    answered = asyncio.create_task(read())
    for position, each in enumerate(body):
        connection.send_data(stream, bytes([each]), end_stream=position == len(body) - 1)
        writer.write(connection.data_to_send())
        answer.sent += 1
        await asyncio.wait([answered], timeout=gap_s)
        if answered.done():
            break
    await asyncio.wait_for(answered, 60)
    answer.after_s = time.monotonic() - began
    writer.close()
    return answer


Send = Callable[[Edge, str, str, dict[str, str], bytes, float], Awaitable[Response]]
PROTOCOLS = pytest.mark.parametrize("send", [over_http1, over_http2], ids=["http1", "http2"])
CALLS = pytest.mark.parametrize(
    ("verb", "path"), [("PUT", RATING), ("POST", "/v1/users/me/ratings:batchRate")], ids=["put", "post"]
)


def json_headers(edge: Edge, user: str) -> dict[str, str]:
    return {**edge.bearer(user), "content-type": "application/json"}


@PROTOCOLS
@CALLS
async def test_one_that_takes_too_long_is_refused_in_time(
    edge: Edge, send: Send, verb: str, path: str
) -> None:
    body = b" " * 400 + BODY
    answer = await send(edge, verb, path, json_headers(edge, "eve"), body, 0.1)
    assert answer.status == 408
    assert answer.after_s > BOUND_S - 0.2
    assert answer.sent < len(body), "it comes while the body does"
    assert answer.headers["content-type"] == "application/json"
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["status"]) == (408, "DEADLINE_EXCEEDED")
    assert error["details"][0]["reason"] == "REQUEST_TOO_SLOW"
    assert edge.service.calls == [], "the service never hears of it"


@PROTOCOLS
async def test_one_that_comes_in_time_is_taken_and_has_all_its_time_left(edge: Edge, send: Send) -> None:
    gap_s = 0.15
    assert gap_s * (len(BODY) - 1) > TIMEOUT_S / 2, "else it would not show from when its deadline counts"
    answer = await send(edge, "PUT", RATING, json_headers(edge, "ann"), BODY, gap_s)
    assert (answer.status, json.loads(answer.body)["score"]) == (200, 7)
    assert answer.after_s > gap_s * (len(BODY) - 1)
    (call,) = edge.service.calls
    assert call.time_remaining is not None
    assert call.time_remaining > TIMEOUT_S / 2, "its deadline counts from when it was whole"


async def test_many_of_them_take_nobodys_place(edge: Edge) -> None:
    headers = json_headers(edge, "eve")
    body = b" " * 400 + BODY
    slow = [
        asyncio.create_task(send(edge, "PUT", RATING, headers, body, 0.1))
        for send in (over_http1, over_http2)
        for _ in range(10)  # each more than the places that there are
    ]
    served = 0
    while not any(task.done() for task in slow):
        answer = await edge.http.put(RATING, json={"score": 7}, headers=edge.bearer("ann"))
        assert answer.status_code == 200
        served += 1
        await asyncio.sleep(0.02)
    assert served > 5
    assert len(edge.service.calls) == served
    assert {answer.status for answer in await asyncio.gather(*slow)} == {408}
    assert len(edge.service.calls) == served


async def test_a_grpc_message_that_takes_too_long_is_refused_too(edge: Edge) -> None:
    message = ratings_pb2.RateMovieRequest(
        name="users/me/ratings/tt0111161", score=7, request_id="x" * 400
    ).SerializeToString()
    headers = {**edge.bearer("eve"), "content-type": "application/grpc", "te": "trailers"}
    framed = b"\0" + len(message).to_bytes(4, "big") + message
    answer = await over_http2(edge, "POST", GRPC, headers, framed, 0.1)
    assert (answer.headers | answer.trailers)["grpc-status"] == "4"
    assert answer.sent < len(framed), "it comes while the message does"
    assert edge.service.calls == []
