"""What Envoy spends on each kind of call: `python -m tests.load.edge.calls [CALLS]`.

The first kind is the measure: Envoy's own `direct_response` of the same bytes that a movie's answer has.

CPU microseconds of the Envoy process a call, over HTTP/1.1 keep-alive connections from this machine, before
the small services of `tests/support/edge`. The kinds take turns, so that whatever else the machine does meets
all of them, and the smallest of the rounds counts. On a shared machine only the ratios mean much.
"""

import asyncio
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from marquee.movies.v1 import movies_pb2

from edge import files
from edge.limits import DEFAULT_FILE
from tests.support.edge.mesh import Edge, fail, not_found, running_edge
from tests.support.waiting import eventually

DIRECT = "/direct-response"
LONG = "/v1/movies/tt0000009"
ROUNDS = 6
CONNECTIONS = 8


@dataclass(frozen=True)
class Kind:
    """One kind of call and what the service does with it."""

    name: str
    request: bytes
    status: int
    keep: bool = False
    missing: bool = False
    costs: list[float] = field(default_factory=list)


def request(verb: str, path: str, token: str = "", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{verb} {path} HTTP/1.1", "host: marquee"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def kinds(token: str) -> list[Kind]:
    movie, rating = "/v1/movies/tt0111161", "/v1/users/me/ratings/tt0111161"
    return [
        Kind("direct_response of a movie's bytes", request("GET", DIRECT), 200),
        Kind("answered by Envoy itself (/healthz)", request("GET", "/healthz"), 200),
        Kind("refused: no token", request("GET", rating), 401),
        Kind("refused: no such path", request("GET", "/nope"), 404),
        Kind("movie from the cache", request("GET", "/v1/movies/tt0000001"), 200, keep=True),
        Kind("the same, 304", request("GET", "/v1/movies/tt0000001", if_none_match='"v1"'), 304, keep=True),
        Kind("the same, with a token", request("GET", "/v1/movies/tt0000001", token), 200, keep=True),
        Kind("the same, HEAD", request("HEAD", "/v1/movies/tt0000001"), 200, keep=True),
        Kind(
            "long movie (9 KB) from the cache, gzip",
            request("GET", LONG, accept_encoding="gzip"),
            200,
            keep=True,
        ),
        Kind("movie, a miss that is stored", request("GET", "/v1/movies/tt{n}"), 200, keep=True),
        Kind("movie, not cached (two hops)", request("GET", movie), 200),
        Kind("movie not found (two hops, Lua)", request("GET", movie), 404, missing=True),
        Kind("own rating (one hop)", request("GET", rating, token), 200),
        Kind("search (one hop)", request("GET", "/v1/movies:search?query=heat"), 200),
        Kind("rate a movie (one hop)", request("PUT", rating, token, b'{"score":7}'), 200),
    ]


_asked = 10_000_000


async def answer_directly(edge: Edge) -> None:
    """Puts a route before all others that answers with a movie's bytes."""
    edge.service.headers[:] = [("cache-control", "public, max-age=600"), ("etag", '"v1"')]
    movie = await edge.http.get("/v1/movies/tt0000001")
    path = edge.folder / "envoy" / "routes.yaml"
    content = files.read_yaml(path)
    content["resources"][0]["virtual_hosts"][0]["routes"].insert(
        0,
        {
            "name": "direct",
            "match": {"path": DIRECT},
            "direct_response": {"status": 200, "body": {"inline_string": movie.text}},
        },
    )
    files.write_yaml(path, content)

    async def there() -> bool:
        return (await edge.http.get(DIRECT)).text == movie.text

    await eventually(there, what="the direct response")


async def load(port: int, kind: Kind, calls: int) -> None:
    """Makes so many calls.

    Raises:
        ValueError: an answer is not as expected.
    """
    statuses: Counter[int] = Counter()
    left = calls

    async def client() -> None:
        nonlocal left
        global _asked
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            _asked += 1
            writer.write(kind.request.replace(b"{n}", b"%08d" % _asked))
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            statuses[status] += 1
            length = re.search(rb"content-length: (\d+)", head)
            if length and status != 304 and not kind.request.startswith(b"HEAD"):
                await reader.readexactly(int(length[1]))
            elif b"transfer-encoding: chunked" in head:
                await reader.readuntil(b"\r\n0\r\n")
                while await reader.readline() != b"\r\n":
                    pass
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    if set(statuses) != {kind.status}:
        raise ValueError(f"{kind.name}: expected {kind.status}, got {dict(statuses)}")


async def plot_if_long(request: Any, _context: Any) -> movies_pb2.Movie:
    movie = movies_pb2.Movie(name=request.name, title="The Shawshank Redemption", year=1994)
    if LONG.endswith(request.name):
        movie.plot = (
            "Two imprisoned men bond over a number of years, finding solace and eventual redemption. " * 100
        )
    return movie


async def measure(edge: Edge, kind: Kind, calls: int) -> float:
    service = edge.service
    service.handlers.clear()
    service.handlers["GetMovie"] = plot_if_long
    service.headers[:] = [("cache-control", "public, max-age=600"), ("etag", '"v1"')] if kind.keep else []
    if kind.missing:
        service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    await load(edge.settings.edge_port, kind, 100)
    process = psutil.Process(edge.pid)
    before = process.cpu_times()
    await load(edge.settings.edge_port, kind, calls)
    after = process.cpu_times()
    service.calls.clear()
    return (after.user - before.user + after.system - before.system) / calls * 1e6


def without_limits(path: Path) -> Path:
    text = re.sub(
        r"burst: \d+, per_second: \d+", "burst: 1000000000, per_second: 1000000", DEFAULT_FILE.read_text()
    )
    path.write_text(text)
    return path


async def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_edge(limits_file=without_limits(Path(folder) / "limits.yaml")) as edge:
            await answer_directly(edge)
            measured = kinds(edge.token(tier="partner"))
            for _ in range(ROUNDS):
                for kind in measured:
                    kind.costs.append(await measure(edge, kind, calls))
    base = min(measured[0].costs)
    print(f"{'kind':40} {'µs':>6} {'× direct':>10}")
    for kind in measured:
        print(f"{kind.name:40} {min(kind.costs):6.0f} {min(kind.costs) / base:10.1f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
