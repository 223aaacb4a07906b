"""What each kind of request costs each process, beside the floor: `python -m tests.load.system.bench`.

    --seconds 5     of each kind, in each round
    --rounds 3      the kinds take turns; the smallest of the rounds counts
    --users 32      clients in a closed loop: each asks again once it is answered
    --kinds a,b     only these
    --json FILE     the figures, for `docs/performance.md`

The mesh of this checkout must be up, with data (`make demo`). CPU is user and system time of each process
with its children, divided by the requests that were answered rightly; this client is not in it. The floor
(`tests.load.system.floor`) is measured in the same rounds, so that whatever else the machine does meets
both. For a figure that can be compared, nothing else may run.
"""

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from google.protobuf import json_format
from marquee.movies.v1 import movies_pb2

from local.commands import loadtest
from local.commands.edge_client import EdgeClient
from local.commands.http1 import Client, Response
from local.commands.movielens import Rating
from local.stack import state as states
from local.stack.layout import HOST, Stack, StackError, default_home
from tests.load.system import floor
from tests.support.ports import free_port
from tests.support.waiting import eventually

RATED = 20
"""Movies that each client has rated when the measuring begins."""
NO_CACHE = "Cache-Control: no-cache\r\n"
FLOOR = ("floor: envoy", "floor: python")
SERVICES = ("movie_svc", "rating_svc", "ranking_svc")
Ask = Callable[[random.Random, str], Awaitable[Response]]


@dataclass
class Kind:
    """One kind of request."""

    name: str
    ask: Ask
    settling_s: float = 0.0
    """How long what it began goes on after the answer, in seconds: that is a part of its cost."""
    cpu_us: dict[str, float] = field(default_factory=dict)
    """By process, a request, of the best round."""
    a_second: float = 0.0
    latency_ms: tuple[float, float] = (0.0, 0.0)
    """p50 and p99 of the best round."""

    @property
    def total(self) -> float:
        return sum(self.cpu_us.values())


def kinds(client: EdgeClient, bare: Client, movies: list[str]) -> list[Kind]:
    def movie(chance: random.Random) -> str:
        return movies[min(int(chance.paretovariate(0.8)) - 1, len(movies) - 1)]

    def get(path: Callable[[random.Random], str], headers: str = "") -> Ask:
        return lambda chance, user: client.get(path(chance), user, headers)

    words = ("night", "love", "star", "dead", "king", "story", "man", "time")
    first = movies[0]
    return [
        Kind("floor", lambda _chance, _user: bare.request("GET", f"/v1/movies/{first}")),
        Kind("movie, from the edge's cache", get(lambda _: f"/v1/movies/{first}")),
        Kind("movie, no-cache", get(lambda chance: f"/v1/movies/{movie(chance)}", NO_CACHE)),
        Kind("chart of 50, no-cache", get(lambda _: "/v1/charts/top-rated?pageSize=50", NO_CACHE)),
        Kind("own rating", get(lambda chance: f"/v1/users/me/ratings/{chance.choice(movies[:RATED])}")),
        Kind("search, repeated", get(lambda chance: f"/v1/movies:search?query={chance.choice(words)}")),
        Kind(
            "search, no-cache",
            get(lambda chance: f"/v1/movies:search?query={chance.choice(words)}", NO_CACHE),
        ),
        Kind(
            "rating a movie",
            lambda chance, user: client.put_rating(user, movie(chance), chance.randint(1, 10)),
        ),
    ]


async def measure(
    kind: Kind, users: int, seconds: float, pids: dict[str, list[int]], idle_us_s: dict[str, float]
) -> None:
    """One round; kept if it is the cheapest so far.

    `idle_us_s` is what each process uses in a second without requests.
    """
    latencies: list[float] = []
    began = time.perf_counter()

    async def user(number: int) -> None:
        chance = random.Random(f"{kind.name} {number}")
        while time.perf_counter() - began < seconds:
            asked = time.perf_counter()
            answer = await kind.ask(chance, f"load-{number}")
            if answer.status != 200:
                raise StackError(f"{kind.name}: {answer.status} {answer.body[:300].decode(errors='replace')}")
            latencies.append(time.perf_counter() - asked)

    before = loadtest.cpu(pids)
    async with asyncio.TaskGroup() as group:
        for number in range(users):
            group.create_task(user(number))
    took = time.perf_counter() - began
    await asyncio.sleep(kind.settling_s)
    in_all = time.perf_counter() - began
    after = loadtest.cpu(pids)
    used = {
        name: max(0.0, (after[name] - before[name]) * 1e6 - idle_us_s[name] * in_all) / len(latencies)
        for name in pids
    }
    if not kind.cpu_us or sum(used.values()) < kind.total:
        latencies.sort()
        kind.cpu_us = used
        kind.a_second = len(latencies) / took
        p50, p99 = (1000 * latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
        kind.latency_ms = p50, p99


@contextlib.asynccontextmanager
async def running_floor(stack: Stack, answer: bytes) -> AsyncIterator[tuple[Client, dict[str, list[int]]]]:
    """Starts the floor; yields a client of it, and its processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, upstream = free_port(), free_port()
        (folder / "answer").write_bytes(answer)
        commands = [
            floor.envoy_command(stack, folder, port, upstream),
            floor.server_command(stack, upstream, folder / "answer"),
        ]
        processes = [await asyncio.create_subprocess_exec(*command) for command in commands]
        client = Client(HOST, port)
        try:

            async def answers() -> bool:
                with contextlib.suppress(ConnectionError):
                    return (await client.request("GET", "/v1/movies/tt0000001")).status == 200
                return False

            await eventually(answers, what="the floor's first answer")
            yield client, dict(zip(FLOOR, ([process.pid] for process in processes), strict=True))
        finally:
            client.close()
            for process in processes:
                process.terminate()
            for process in processes:
                await process.wait()


async def run(arguments: argparse.Namespace) -> list[Kind]:
    home = default_home()
    stack = states.running_stack(home)
    pids = loadtest.pids(stack)
    movies = loadtest.known_movies(stack)
    async with running_floor(stack, await movie_bytes(stack, movies[0])) as (bare, own):
        pids |= own
        client = EdgeClient(stack, "partner")
        await asyncio.gather(*(rate_some(client, movies, number) for number in range(arguments.users)))
        idle = await used_when_idle(pids)
        chosen = [
            kind
            for kind in kinds(client, bare, movies)
            if kind.name == "floor"
            or not arguments.kinds
            or any(each in kind.name for each in arguments.kinds)
        ]
        for _ in range(arguments.rounds):
            for kind in chosen:
                await measure(kind, arguments.users, arguments.seconds, pids, idle)
        client.close()
    return chosen


async def rate_some(client: EdgeClient, movies: list[str], number: int) -> None:
    for movie in movies[:RATED]:
        await client.rate(Rating(f"load-{number}", movie, 7, 0))


async def used_when_idle(pids: dict[str, list[int]], seconds: float = 5) -> dict[str, float]:
    """CPU-µs that each process uses in a second without requests."""
    before = loadtest.cpu(pids)
    await asyncio.sleep(seconds)
    return {name: (used - before[name]) * 1e6 / seconds for name, used in loadtest.cpu(pids).items()}


async def movie_bytes(stack: Stack, movie: str) -> bytes:
    """A movie's message, made of its JSON: the floor answers with as much."""
    client = EdgeClient(stack, "partner")
    answer = await client.get(f"/v1/movies/{movie}", "load-0")
    client.close()
    return json_format.Parse(answer.body, movies_pb2.Movie(), ignore_unknown_fields=True).SerializeToString()


def show(found: list[Kind]) -> None:
    base = found[0]
    envoy, python = (base.cpu_us[name] for name in FLOOR)
    print(f"floor: {base.a_second:,.0f}/s; Envoy {envoy:.0f} + Python {python:.0f} CPU-µs a request\n")
    for kind in found[1:]:
        parts = {name: used for name, used in kind.cpu_us.items() if used >= 3 and name not in FLOOR}
        told = []
        for name, used in sorted(parts.items(), key=lambda item: -item[1]):
            compared = envoy if name == "envoy" else python if name in SERVICES else None
            told.append(f"{name} {used:.0f}" + (f" ({used / compared:.2f} ×)" if compared else ""))
        p50, p99 = kind.latency_ms
        print(f"{kind.name}: {kind.a_second:,.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        print(f"    {sum(parts.values()):,.0f} CPU-µs: {', '.join(told)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.load.system.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = uvloop.run(run(arguments))
    show(found)
    if arguments.json:
        figures = {
            k.name: {"a_second": k.a_second, "latency_ms": k.latency_ms, "cpu_us": k.cpu_us} for k in found
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
