"""What is not well-formed HTTP is refused with a reason, or cut off; so is who sends too slowly."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from edge.limits import DEFAULT_FILE
from tests.support.edge.mesh import Edge
from tests.support.edge.raw import raw_exchange

RATING = "/v1/users/me/ratings/tt0111161"


@pytest.fixture(scope="module")
def limits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    limits = tmp_path_factory.mktemp("limits") / "limits.yaml"
    text = DEFAULT_FILE.read_text()
    # The same bounds, sooner.
    limits.write_text(
        text.replace("request_headers_timeout: 10s", "request_headers_timeout: 3s").replace(
            "stream_idle_timeout: 30s", "stream_idle_timeout: 3s"
        )
    )
    return limits


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\nx-bad\x00name: 1\r\n\r\n",
        b"GET /v1/movies/tt1 HTTP/1.1\r\n\r\n",
    ],
    ids=["TLS", "version", "nonsense", "smuggling", "negative length", "NUL in header", "no host"],
)
async def test_what_is_not_http_is_cut_off(edge: Edge, request_bytes: bytes) -> None:
    status, _ = await raw_exchange(edge, request_bytes)
    # What says that it is HTTP of another version is answered as HTTP/1.0.
    assert status in (0, 400, 404), status
    assert edge.service.calls == []


EARLY = [
    ("GET /v1/movies/tt1 HTTP/1.1\r\n", 400, "no host header"),
    ("OPTIONS * HTTP/1.1\r\nhost: x\r\n", 404, "nothing at *"),
    ("CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n", 404, "no proxy"),
    ("GET * HTTP/1.1\r\nhost: x\r\n", 400, "not well-formed HTTP: http1.invalid_url"),
    ("GET v1 HTTP/1.1\r\nhost: x\r\n", 400, "not well-formed HTTP"),
    ("FOO /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\n", 400, "not well-formed HTTP"),
    ("GET /v1/movies/tt1#top HTTP/1.1\r\nhost: x\r\n", 400, "path is malformed"),
    ("GET https://x/v1/movies/tt1 HTTP/1.1\r\nhost: x\r\n", 400, "says https"),
    ("GET /v1/movies/tt1 HTTP/1.1\r\nhost: a b\r\n", 400, "invalid_authority"),
    ("GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\nbad header\r\n", 400, "not well-formed HTTP"),
    ("GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n", 400, "not well-formed HTTP"),
    ("GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n", 501, "transfer-encoding"),
    (
        "GET /v1/movies/tt1 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
        400,
        "upgrade",
    ),
]


@pytest.mark.parametrize(
    ("head", "status", "words"), EARLY, ids=[head.split("\r")[0] for head, _, _ in EARLY]
)
async def test_what_envoy_refuses_early_says_why(edge: Edge, head: str, status: int, words: str) -> None:
    found, body = await raw_exchange(edge, f"{head}\r\n".encode())
    error = json.loads(body)["error"]
    assert (found, error["code"]) == (status, status)
    assert words in error["message"]
    assert error["details"][0]["domain"] == "marquee"


@pytest.mark.parametrize("path", ["/v1/movies/tt1", "/v1/movies:search?query=ab"])
async def test_an_empty_host_is_as_good_as_any(edge: Edge, path: str) -> None:
    status, _ = await raw_exchange(edge, f"GET {path} HTTP/1.1\r\nhost:\r\n\r\n".encode())
    assert status == 200


async def test_a_slow_sender_of_headers_is_cut_off(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    ended = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /v1/movies/tt1 HTTP/1.1\r\n")
        for _ in range(200):
            writer.write(b"x-slow: 1\r\n")
            await writer.drain()
            await asyncio.wait([ended], timeout=0.2)
            if ended.done():
                break
    assert ended.done(), "the edge listens without end"
    writer.close()


async def test_a_sender_that_stops_in_a_body_is_cut_off(edge: Edge) -> None:
    head = f"PUT {RATING} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {edge.token()}\r\n"
    request = head + "content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    status, body = await raw_exchange(edge, request.encode())
    assert status in (408, 504)
    assert json.loads(body)["error"]["code"] == status
