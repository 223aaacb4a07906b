"""`marquee load`: so many users, each asking again as soon as they are answered, for so long.

A closed loop: it finds out what the mesh can do, not how it copes with more. All
of it goes to the edge on the loopback, and it ends by itself.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from local.commands import chart, usage
from local.commands.edge_client import EdgeClient
from local.commands.http1 import Response
from local.stack import state as states
from local.stack.layout import Stack, StackError
from local.supervision.processes import table

KINDS: Final = ("movie", "score", "top", "search", "rate", "mine")
_TIER: Final = "partner"
_MOVIES: Final = 500
_GENRES: Final = ("", "Drama", "Comedy", "Action", "Thriller", "Romance", "Sci-Fi")
_WORDS: Final = ("night", "love", "star", "dead", "king", "story", "man", "time")
_PERCENTILES: Final = (50, 90, 99, 99.9)


def parse(mix: str) -> dict[str, int]:
    """Reads `movie=50,rate=15`.

    Raises:
        StackError: it can't be read.
    """
    weights: dict[str, int] = {}
    for text in mix.split(","):
        kind, _, weight = text.partition("=")
        if kind not in KINDS or not weight.isdigit():
            raise StackError(f"--mix {text} can't be used: give KIND=WEIGHT of {', '.join(KINDS)}")
        weights[kind] = int(weight)
    if not sum(weights.values()):
        raise StackError("--mix needs at least one weight above 0")
    return weights


def run(stack: Stack, *, users: int, seconds: int, mix: Mapping[str, int]) -> int:
    """Loads the mesh and prints what came of it; returns how many requests failed.

    Raises:
        StackError: the mesh has no movies yet.
    """
    movies = known_movies(stack)
    watched = pids(stack)
    before = cpu(watched)
    own_before = time.process_time()
    measured = uvloop.run(_load(stack, users, seconds, mix, movies))
    own = time.process_time() - own_before
    after = cpu(watched)
    count = sum(map(len, measured.latencies.values())) or 1
    console = Console()
    _show_latencies(console, measured, users)
    _show_cpu(console, {name: after[name] - before[name] for name in watched} | {"this client": own}, count)
    return sum(measured.failures.values())


class _Measured:
    def __init__(self) -> None:
        self.latencies: dict[str, list[float]] = defaultdict(list)
        """Seconds, of the requests that were answered with 200."""
        self.failures: Counter[str] = Counter()
        """By kind and what happened."""
        self.seconds = 0.0


async def _load(
    stack: Stack, users: int, seconds: int, mix: Mapping[str, int], movies: list[str]
) -> _Measured:
    measured = _Measured()
    client = EdgeClient(stack, _TIER)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(users):
            group.create_task(_user(client, f"load-{number}", began + seconds, mix, movies, measured))
    measured.seconds = time.perf_counter() - began
    client.close()
    return measured


async def _user(
    client: EdgeClient,
    user: str,
    until: float,
    mix: Mapping[str, int],
    movies: list[str],
    measured: _Measured,
) -> None:
    chance = random.Random(user)  # noqa: S311 - the same requests each time
    kinds, weights = list(mix), list(mix.values())
    while (began := time.perf_counter()) < until:
        kind = chance.choices(kinds, weights)[0]
        try:
            answer = await ask(client, kind, user, chance, movies)
        except (ConnectionError, TimeoutError) as error:
            measured.failures[f"{kind}: {type(error).__name__}"] += 1
            await asyncio.sleep(0.1)
            continue
        if is_right(kind, answer):
            measured.latencies[kind].append(time.perf_counter() - began)
        else:
            measured.failures[f"{kind}: {answer.status}"] += 1


async def ask(
    client: EdgeClient, kind: str, user: str, chance: random.Random, movies: Sequence[str]
) -> Response:
    """One request of a kind, about a movie that is drawn."""
    # Some movies are asked for far more than others.
    movie = movies[min(int(chance.paretovariate(0.8)) - 1, len(movies) - 1)]
    if kind == "rate":
        return await client.put_rating(user, movie, chance.randint(1, 10))
    # With a token even where none is needed: else all users would share one address's limits.
    return await client.get(_path(kind, movie, chance), user)


def is_right(kind: str, answer: Response) -> bool:
    """Whether it is the answer to such a request: one's rating of a movie may rightly be not found."""
    return answer.status == 200 or (kind == "mine" and answer.status == 404)


def _path(kind: str, movie: str, chance: random.Random) -> str:
    if kind == "movie":
        return f"/v1/movies/{movie}"
    if kind == "score":
        return f"/v1/movies/{movie}/score"
    if kind == "top":
        return f"/v1/charts/top-rated?pageSize=20&genre={chance.choice(_GENRES)}"
    if kind == "search":
        return f"/v1/movies:search?query={chance.choice(_WORDS)}"
    return f"/v1/users/me/ratings/{movie}"


def known_movies(stack: Stack) -> list[str]:
    """Ids of movies that the mesh knows, some hundreds at most.

    Raises:
        StackError: it knows none.
    """
    movies: list[str] = []
    page = ""
    while len(movies) < _MOVIES:
        found = chart.get(stack, f"/v1/movies?pageSize=100&pageToken={page}")
        movies += [movie["name"].removeprefix("movies/") for movie in found["movies"]]
        page = found.get("nextPageToken", "")
        if not page:
            break
    if not movies:
        raise StackError("the mesh knows no movies yet: run `marquee demo`, or ask for some by their ids")
    return movies


def pids(stack: Stack) -> dict[str, list[int]]:
    """The processes of a mesh that is up, by name: each with what it started and is no child of it."""
    state = states.live(stack.home)
    if state is None:
        return {}
    kinds = {name: kind for kind in table(stack.shape) for name in stack.names(kind.name)}
    return {
        name: [process.pid, *(kinds[name].also(stack, name) if name in kinds else ())]
        for name, process in state.processes.items()
    }


def used(pids: Mapping[str, Sequence[int]]) -> dict[str, usage.Usage]:
    """What each process uses, with its descendants (PostgreSQL's sessions)."""
    measured = usage.measure(pid for own in pids.values() for pid in own)
    return {
        name: usage.Usage(
            sum(measured[pid].memory_bytes for pid in own), sum(measured[pid].cpu_s for pid in own)
        )
        for name, own in pids.items()
    }


def cpu(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """CPU time of each process with its descendants, in seconds."""
    return {name: each.cpu_s for name, each in used(pids).items()}


def _show_latencies(console: Console, measured: _Measured, users: int) -> None:
    everything = [value for values in measured.latencies.values() for value in values]
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in ("request", "answered", "a second", *(f"p{p:g} ms" for p in _PERCENTILES), "max ms"):
        table.add_column(column, justify="left" if column == "request" else "right")
    for kind, values in [*sorted(measured.latencies.items()), ("all", everything)]:
        ordered = sorted(values) or [0.0]
        at = [ordered[min(int(len(ordered) * p / 100), len(ordered) - 1)] for p in _PERCENTILES]
        table.add_row(
            kind,
            f"{len(values):,}",
            f"{len(values) / measured.seconds:,.0f}",
            *(f"{value * 1000:.1f}" for value in (*at, ordered[-1])),
        )
    console.print(f"{users} users for {measured.seconds:.0f} s, each asking again once answered")
    console.print(table)
    for what, count in measured.failures.most_common():
        console.print(f"[red]failed: {what}: {count}", highlight=False)


def _show_cpu(console: Console, used: Mapping[str, float], count: int) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("process", "CPU s", "CPU µs a request"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for name, seconds in [*used.items(), ("all", sum(used.values()))]:
        table.add_row(name, f"{seconds:.2f}", f"{seconds / count * 1e6:,.0f}")
    console.print(table)
