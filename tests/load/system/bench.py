"""What each kind of request costs each process, beside the floor: `python -m tests.load.system.bench`.

    --seconds 5     of each kind, in each round
    --rounds 3      the kinds take turns; the smallest of the rounds counts
    --users 32      clients in a closed loop: each asks again once it is answered
    --kinds a,b     only these
    --open 10       seconds of an open loop at half of what the closed loop reached; 0: none
    --json FILE     the figures, for `docs/performance.md`

The mesh of this checkout must be up, with data (`make demo`). CPU is user and system time of each process
with its children, divided by the requests that were answered rightly; this client is not in it. The floor
(`tests.load.system.floor`) of each kind answers the same requests with the same bytes, and is measured in the
same rounds, so that whatever else the machine does meets both. In the open loop requests come at random
moments, whether or not those before are answered, and a latency counts from the moment when the request was
due, so that none is left out because another one was slow (coordinated omission,
https://github.com/giltene/wrk2). For a figure that can be compared, nothing else may run.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from google.protobuf import descriptor_pool, json_format, message_factory

from local.commands import loadtest
from local.commands.edge_client import EdgeClient
from local.commands.http1 import Client, Response
from local.commands.movielens import Rating
from local.stack import state as states
from local.stack.layout import Stack, StackError, default_home
from tests.load.system import floor

RATED = 20
"""Movies that each client has rated when the measuring begins."""
NO_CACHE = "Cache-Control: no-cache\r\n"
WORDS = ("night", "love", "star", "dead", "king", "story", "man", "time")
SERVICES = ("movie_svc", "rating_svc", "ranking_svc")
SETTLING_S = 2.0
IDLE_LOOKS = 3
PERCENTILES = (0.5, 0.99, 0.999)
Ask = Callable[[random.Random, str], Awaitable[Response]]


@dataclass
class Costs:
    """What the cheapest round of a kind of request cost."""

    cpu_us: dict[str, float] = field(default_factory=dict)
    """By process, a request."""
    a_second: float = 0.0
    latency_ms: tuple[float, ...] = ()
    """p50, p99 and p99.9."""

    @property
    def total(self) -> float:
        return sum(self.cpu_us.values())


@dataclass
class Kind:
    """One kind of request."""

    name: str
    request: Callable[[random.Random], tuple[str, bytes]]
    """The path, and the body: none for a GET, else it is a PUT."""
    method: str = ""
    """The RPC that it comes to; empty if the edge answers from its cache."""
    headers: str = ""
    mesh: Costs = field(default_factory=Costs)
    floor: Costs = field(default_factory=Costs)
    open_rate: float = 0.0
    """Requests a second in the open loop."""
    open_ms: tuple[float, ...] = ()
    """p50, p99 and p99.9 there, each from when its request was due."""

    @property
    def writes(self) -> bool:
        return bool(self.request(random.Random(0))[1])

    def of(self, client: EdgeClient) -> Ask:
        """Asks the mesh."""

        def ask(chance: random.Random, user: str) -> Awaitable[Response]:
            path, body = self.request(chance)
            return client.put(path, user, body) if body else client.get(path, user, self.headers)

        return ask

    def of_floor(self, client: Client) -> Ask:
        """Asks the floor the same."""

        def ask(chance: random.Random, _user: str) -> Awaitable[Response]:
            path, body = self.request(chance)
            return client.request("PUT" if body else "GET", path, body=body)

        return ask


def kinds(movies: Sequence[str], words: Sequence[str] = WORDS) -> list[Kind]:
    """What is measured, on a mesh that knows these movies, the best known first."""

    def movie(chance: random.Random) -> str:
        return movies[min(int(chance.paretovariate(0.8)) - 1, len(movies) - 1)]

    def get(path: Callable[[random.Random], str]) -> Callable[[random.Random], tuple[str, bytes]]:
        return lambda chance: (path(chance), b"")

    def own(movie: str) -> str:
        return f"/v1/users/me/ratings/{movie}"

    def search(chance: random.Random) -> str:
        return f"/v1/movies:search?query={chance.choice(words)}"

    of_movies, of_ratings, of_rankings = floor.SERVICES
    return [
        Kind("movie, from the edge's cache", get(lambda _: f"/v1/movies/{movies[0]}")),
        Kind("search, repeated", get(search)),
        Kind(
            "movie, no-cache",
            get(lambda chance: f"/v1/movies/{movie(chance)}"),
            f"{of_movies}.GetMovie",
            NO_CACHE,
        ),
        Kind(
            "chart of 50, no-cache",
            get(lambda _: "/v1/charts/top-rated?pageSize=50"),
            f"{of_rankings}.ListTopRated",
            NO_CACHE,
        ),
        Kind("own rating", get(lambda chance: own(chance.choice(movies[:RATED]))), f"{of_ratings}.GetRating"),
        Kind("search, no-cache", get(search), f"{of_movies}.SearchMovies", NO_CACHE),
        Kind(
            "rating a movie",
            lambda chance: (own(movie(chance)), b'{"score":%d}' % chance.randint(1, 10)),
            f"{of_ratings}.RateMovie",
        ),
    ]


class Bench:
    """Measures kinds of requests on a mesh that is up, each beside its floor."""

    def __init__(self, stack: Stack, users: int, seconds: float) -> None:
        self._client = EdgeClient(stack, "partner")
        self._stack = stack
        self._users = users
        self._seconds = seconds
        self._pids = loadtest.pids(stack)
        self._idle: dict[str, float] = {}

    async def run(self, chosen: Sequence[Kind], movies: Sequence[str], rounds: int, open_s: float) -> None:
        """Fills in what each kind costs."""
        await asyncio.gather(*(self._rate_some(movies, number) for number in range(self._users)))
        answers = {kind.method: await self._bytes_of(kind) for kind in chosen if kind.method}
        answers.setdefault(floor.ASKED_FIRST, b"")
        async with floor.running(self._stack, answers) as (bare, own):
            self._pids |= own
            # What a process that has just started still does is not what it always does.
            seen = [await used_when_idle(self._pids, 3) for _ in range(IDLE_LOOKS)]
            self._idle = {name: min(each[name] for each in seen) for name in self._pids}
            for _ in range(rounds):
                for kind in chosen:
                    kind.mesh = await self._cheapest(kind.of(self._client), kind, kind.mesh)
                    if kind.method:
                        kind.floor = await self._cheapest(kind.of_floor(bare), kind, kind.floor)
        for kind in chosen if open_s else ():
            kind.open_rate = kind.mesh.a_second / 2
            kind.open_ms = await self._open_loop(kind, open_s)
        self._client.close()

    async def _cheapest(self, ask: Ask, kind: Kind, before: Costs) -> Costs:
        found = await self._closed_loop(ask, kind)
        return found if not before.cpu_us or found.total < before.total else before

    async def _closed_loop(self, ask: Ask, kind: Kind) -> Costs:
        """One round: each user asks again once it is answered."""
        latencies: list[float] = []
        before, began = loadtest.cpu(self._pids), time.perf_counter()

        async def user(number: int) -> None:
            chance = random.Random(f"{kind.name} {number}")
            while time.perf_counter() - began < self._seconds:
                asked = time.perf_counter()
                _check(kind, await ask(chance, f"load-{number}"))
                latencies.append(time.perf_counter() - asked)

        async with asyncio.TaskGroup() as group:
            for number in range(self._users):
                group.create_task(user(number))
        took = time.perf_counter() - began
        # What a write began goes on after its answer: that is a part of its cost.
        await asyncio.sleep(SETTLING_S if kind.writes else 0)
        in_all, after = time.perf_counter() - began, loadtest.cpu(self._pids)
        used = {
            name: max(0.0, (after[name] - before[name]) * 1e6 - self._idle[name] * in_all) / len(latencies)
            for name in self._pids
        }
        return Costs(used, len(latencies) / took, percentiles(latencies))

    async def _open_loop(self, kind: Kind, seconds: float) -> tuple[float, ...]:
        """Latencies of requests that come at random moments, as many a second as `kind.open_rate` says."""
        ask, chance, latencies = kind.of(self._client), random.Random(kind.name), []

        async def one(number: int, due: float) -> None:
            _check(kind, await ask(chance, f"load-{number % self._users}"))
            latencies.append(time.perf_counter() - due)

        due = time.perf_counter()
        end, number = due + seconds, 0
        async with asyncio.TaskGroup() as group:
            while (due := due + chance.expovariate(kind.open_rate)) < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(one(number, due))
                number += 1
        return percentiles(latencies)

    async def _bytes_of(self, kind: Kind) -> bytes:
        """The message that a request is answered with, made of its JSON: the floor answers with as much."""
        answer = await kind.of(self._client)(random.Random(0), "load-0")
        _check(kind, answer)
        message = message_factory.GetMessageClass(
            descriptor_pool.Default().FindMethodByName(kind.method).output_type
        )()
        return json_format.Parse(answer.body, message, ignore_unknown_fields=True).SerializeToString()

    async def _rate_some(self, movies: Sequence[str], number: int) -> None:
        for movie in movies[:RATED]:
            await self._client.rate(Rating(f"load-{number}", movie, 7, 0))


def _check(kind: Kind, answer: Response) -> None:
    if answer.status != 200:
        raise StackError(f"{kind.name}: {answer.status} {answer.body[:300].decode(errors='replace')}")


def percentiles(latencies: list[float]) -> tuple[float, ...]:
    """p50, p99 and p99.9 of seconds, in milliseconds."""
    latencies.sort()
    return tuple(1000 * latencies[int(len(latencies) * share)] for share in PERCENTILES)


async def used_when_idle(pids: Mapping[str, Sequence[int]], seconds: float = 5) -> dict[str, float]:
    """CPU-µs that each process uses in a second without requests."""
    before = loadtest.cpu(pids)
    await asyncio.sleep(seconds)
    return {name: (used - before[name]) * 1e6 / seconds for name, used in loadtest.cpu(pids).items()}


def show(found: Sequence[Kind]) -> None:
    for kind in found:
        base = [kind.floor.cpu_us.get(name, 0.0) for name in floor.PROCESSES]
        told = []
        for name, used in sorted(kind.mesh.cpu_us.items(), key=lambda item: -item[1]):
            if used < 3 or name in floor.PROCESSES:
                continue
            compared = base[0] if name == "envoy" else base[1] if name in SERVICES else 0.0
            told.append(f"{name} {used:.0f}" + (f" ({used / compared:.2f} ×)" if compared else ""))
        print(f"{kind.name}: {kind.mesh.a_second:,.0f}/s; {kind.mesh.total:,.0f} CPU-µs: {', '.join(told)}")
        if kind.method:
            print(
                f"    floor: {kind.floor.a_second:,.0f}/s; Envoy {base[0]:.0f} + Python {base[1]:.0f} CPU-µs"
            )
        print(f"    closed loop: {_told(kind.mesh.latency_ms)}")
        if kind.open_ms:
            print(f"    open loop, {kind.open_rate:,.0f}/s: {_told(kind.open_ms)}")


def _told(latency_ms: Sequence[float]) -> str:
    named = zip(("p50", "p99", "p99.9"), latency_ms, strict=True)
    return ", ".join(f"{name} {value:.1f}" for name, value in named) + " ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.load.system.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[])
    parser.add_argument("--open", type=float, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    stack = states.running_stack(default_home())
    movies = loadtest.known_movies(stack)
    wanted = arguments.kinds
    chosen = [k for k in kinds(movies) if not wanted or any(each in k.name for each in wanted)]
    bench = Bench(stack, arguments.users, arguments.seconds)
    uvloop.run(bench.run(chosen, movies, arguments.rounds, arguments.open))
    show(chosen)
    if arguments.json:
        arguments.json.write_text(json.dumps({kind.name: figures(kind) for kind in chosen}, indent=1) + "\n")


def figures(kind: Kind) -> dict[str, object]:
    """What was measured of a kind."""
    return {
        "a_second": kind.mesh.a_second,
        "cpu_us": kind.mesh.cpu_us,
        "latency_ms": kind.mesh.latency_ms,
        "floor_cpu_us": {name: kind.floor.cpu_us.get(name, 0.0) for name in floor.PROCESSES},
        "open_rate": kind.open_rate,
        "open_ms": kind.open_ms,
    }


if __name__ == "__main__":
    main()
