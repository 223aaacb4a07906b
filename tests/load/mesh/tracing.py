"""What tracing costs a call in a service, in CPU-µs: `python -m tests.load.mesh.tracing [--calls N]`.

A real server process answers an RPC that asks stand-ins for PostgreSQL and Redis, which take no time:
what differs between the ways is tracing alone. They take turns, so that the machine's other work meets all.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from mesh import rpc, spans, tracing
from tests.support.ports import free_port
from tests.support.traces import Collector, collecting

_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
_WAYS: Final = ("off", "on, unsampled", "on, sampled")
AT_ONCE: Final = 16
ROUNDS: Final = 5


class Movies:
    """Asks two stores a call, as a read that misses the memory does."""

    async def _never(self, request: Any, context: Any) -> movies_pb2.Movie:
        raise NotImplementedError

    BatchGetMovies = LookupMovie = SearchMovies = ListMovies = _never

    async def GetMovie(self, request: Any, _context: Any) -> movies_pb2.Movie:
        with spans.command("GET"):
            await asyncio.sleep(0)
        with spans.statement("SELECT name, title FROM movies WHERE id = $1", "primary"):
            await asyncio.sleep(0)
        return movies_pb2.Movie(name=request.name)


async def serve(movies: Movies, port: int, endpoint: str) -> None:
    """Serves forever; says so in a line once it does. Without an endpoint, it makes no spans."""
    tracing.init("bench", tracing.TraceConfig(endpoint, slow_s=1e9))
    server = grpc.aio.server()
    service = movies_pb2.DESCRIPTOR.services_by_name["MovieService"]
    server.add_generic_rpc_handlers([rpc.handlers(service, movies)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process, in seconds."""
    times = (file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(text.split()[0]) for text in times) / 1e9


async def in_turns(
    ways: Mapping[str, tuple[int, Callable[[], Awaitable[None]]]], calls: int, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """CPU-µs a call of a process, round by round, of each way to make that many calls; they take turns.

    Args:
        ways: the process' id, and what makes the calls.
    """
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, (pid, make_calls) in ways.items():
            before = cpu_s(pid)
            await make_calls()
            if number:  # the first round warms up
                found[way].append((cpu_s(pid) - before) / calls * 1e6)
    return found


async def drive(stub: Any, calls: int, flags: str) -> None:
    metadata = (("traceparent", _TRACE + flags), ("x-request-id", "bench"))
    request = movies_pb2.GetMovieRequest(name="movies/tt0111161")

    async def some() -> None:
        for _ in range(calls // AT_ONCE):
            await stub.GetMovie(request, metadata=metadata, timeout=30)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _measure(calls: int, collector: Collector) -> dict[str, list[float]]:
    processes, channels, stubs = {}, [], {}
    for way in ("off", "on"):
        port = free_port()
        words = ["--serve", str(port), collector.endpoint if way == "on" else ""]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, *words, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        processes[way] = process
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        stubs[way] = movies_pb2_grpc.MovieServiceStub(channels[-1])
    ways = {}
    for way in _WAYS:
        server = way.split(",")[0]
        flags = "01" if way.endswith(" sampled") else "00"
        ways[way] = (processes[server].pid, partial(drive, stubs[server], calls, flags))
    try:
        return await in_turns(ways, calls)
    finally:
        for channel in channels:
            await channel.close()
        for process in processes.values():
            process.terminate()
            await process.wait()


def show(found: Mapping[str, Sequence[float]]) -> None:
    """Prints the median of each way in CPU-µs a call, and how far it is from the first one's."""
    base = statistics.median(next(iter(found.values())))
    for way, each in found.items():
        median = statistics.median(each)
        spread = f"rounds {min(each):.0f}-{max(each):.0f}"
        print(f"{way:28} {median:6.0f} CPU-µs a call ({median - base:+5.0f}), {spread}")


async def _run(calls: int) -> None:
    async with collecting() as collector:
        found = await _measure(calls - calls % AT_ONCE, collector)
    show(found)
    print(f"{len(collector.spans)} spans came to the collector")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1600, help="calls a round (default: 1600)")
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "ENDPOINT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(Movies(), int(given.serve[0]), given.serve[1]))
    else:
        asyncio.run(_run(given.calls))


if __name__ == "__main__":
    main()
