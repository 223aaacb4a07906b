"""What metrics and lines of the log cost a call: `python -m tests.load.mesh.telling [--calls N]`.

As `tests.load.mesh.tracing`, in CPU-µs of a real server process, which counts three look-ups a call besides,
as a read of a movie does. A service writes a line for what is traced or fails: so lines are compared between
calls that are sampled.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from prometheus_client import Counter, Gauge, Histogram

from mesh import logs, metrics
from mesh.span_log import CALLS
from movie_svc.metrics import CACHE
from tests.load.mesh.tracing import AT_ONCE, Movies, drive, in_turns, serve, show
from tests.support.ports import free_port
from tests.support.traces import collecting

_WAYS: Final = {
    "metrics off": "00",
    "metrics on": "00",
    "sampled, without its line": "01",
    "sampled, with its line": "01",
}
"""What differs, and the flags of the calls' `traceparent`."""


class _Counting(Movies):
    """Counts what a read of a movie counts."""

    def __init__(self) -> None:
        self._counters = [
            CACHE.labels(*each) for each in (("l1", "miss"), ("redis", "miss"), ("postgres", "hit"))
        ]

    async def GetMovie(self, request: Any, context: Any) -> movies_pb2.Movie:
        for counter in self._counters:
            counter.inc()
        return await super().GetMovie(request, context)


def _count_nothing() -> None:
    def nothing(*_args: Any, **_named: Any) -> None:
        return

    for kind, names in ((Counter, ("inc",)), (Gauge, ("inc", "dec", "set")), (Histogram, ("observe",))):
        for name in names:
            setattr(kind, name, nothing)
    for name in ("started", "handled"):
        setattr(metrics.MethodMetrics, name, nothing)


async def _serve(way: str, port: int, endpoint: str) -> None:
    if way == "metrics off":
        _count_nothing()
    logs.init("bench", logs.LogConfig("info", ""))
    if "without" in way:
        logging.getLogger(CALLS).setLevel(logging.ERROR)
    await serve(_Counting(), port, endpoint)


@contextlib.asynccontextmanager
async def _server(way: str, endpoint: str, log: Path) -> AsyncIterator[tuple[int, Any]]:
    """Its pid, and a stub."""
    port = free_port()
    words = [sys.executable, "-m", __spec__.name, "--serve", way, str(port), endpoint]
    with log.open("ab") as lines:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=subprocess.PIPE, stderr=lines, env=dict(os.environ)
        )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield process.pid, movies_pb2_grpc.MovieServiceStub(channel)
    finally:
        process.terminate()
        await process.wait()


async def _run(calls: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = await stack.enter_async_context(collecting())
        ways = {}
        for way, flags in _WAYS.items():
            endpoint = collector.endpoint if flags == "01" else ""
            pid, stub = await stack.enter_async_context(_server(way, endpoint, folder / f"{way}.log"))
            ways[way] = (pid, partial(drive, stub, calls, flags))
        found = await in_turns(ways, calls)
        written = {way: len((folder / f"{way}.log").read_text().splitlines()) for way in _WAYS}
    show(found)
    print(f"lines of the log: {written}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1600, help="calls a round (default: 1600)")
    parser.add_argument("--serve", nargs=3, metavar=("WAY", "PORT", "ENDPOINT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(_serve(given.serve[0], int(given.serve[1]), given.serve[2]))
    else:
        asyncio.run(_run(given.calls - given.calls % AT_ONCE))


if __name__ == "__main__":
    main()
