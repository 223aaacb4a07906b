"""A steady load through an edge while something else happens, and each call that was lost meanwhile."""

import asyncio
import contextlib
import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import httpx
from marquee.rankings.v1 import rankings_pb2, rankings_pb2_grpc

from edge import tokens
from tests.support.repeating import connected, repeatedly
from tests.support.waiting import eventually

_USERS: Final = 20
_TIMEOUT_S: Final = 15.0
_TTL_S: Final = 6 * 3600
_FRESH: Final = {"cache-control": "no-cache"}
READS: Final = ("movie", "score", "chart", "own rating", "score by gRPC")
"""What is read again and again: by keep-alive HTTP/1.1, the last by one HTTP/2 connection."""
WRITES: Final = ("rate",)


@dataclass(frozen=True)
class Lost:
    """A call that was not answered as it should be; `at_s` counts from when the load began."""

    kind: str
    at_s: float
    why: str


@dataclass
class Load:
    """Six clients of an edge, each with one call after the other on a connection of its own.

    Nothing is answered by the edge's cache, and nothing is tried again by the clients.
    """

    url: str
    keys: Path
    """The folder of the development issuer's keys."""
    movies: Sequence[str]
    calls: Counter[str] = field(default_factory=Counter)
    lost: list[Lost] = field(default_factory=list)
    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last score that was acknowledged, by user and movie; nothing where a later one had no answer."""

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._chance = random.Random(7)
        self._numbers = itertools.count()
        self._bearers = {
            user: {"authorization": f"Bearer {tokens.issue(self.keys, user, (), _TTL_S, 'partner')}"}
            for user in (f"steady-{number}" for number in range(_USERS))
        }

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Calls until the block ends; what is under way then is finished."""
        target = self.url.removeprefix("http://")
        async with connected(self.url, 5) as clients, grpc.aio.insecure_channel(target) as channel:
            stub = rankings_pb2_grpc.RankingServiceStub(channel)
            calls: list[Callable[[], Awaitable[None]]] = [
                lambda: self._read(clients[0], "movie", f"/v1/movies/{self._movie()}"),
                lambda: self._read(clients[1], "score", f"/v1/movies/{self._movie()}/score"),
                lambda: self._read(clients[2], "chart", "/v1/charts/top-rated?pageSize=5"),
                lambda: self._own(clients[3]),
                lambda: self._score(stub),
                lambda: self._rate(clients[4]),
            ]
            async with repeatedly(*calls, pause_s=0.02):
                yield self

    def bearer(self, user: str) -> dict[str, str]:
        """The headers of one of its users."""
        return self._bearers[user]

    async def more(self, count: int, *, without_loss: bool = False, timeout_s: float = 300.0) -> None:
        """Waits for so many more calls of each kind; `without_loss`: until none of them was lost."""
        before, lost = Counter(self.calls), len(self.lost)

        def enough() -> bool:
            nonlocal before, lost
            if without_loss and len(self.lost) > lost:
                before, lost = Counter(self.calls), len(self.lost)
            return all(self.calls[kind] - before[kind] >= count for kind in (*READS, *WRITES))

        await eventually(enough, timeout_s, 0.1, what=f"{count} more calls of each kind; {self.lost[-3:]}")

    def since(self, mark: tuple[int, int]) -> "tuple[int, list[Lost]]":
        """How many calls there were since a `mark`, and those of them that were lost."""
        return self.calls.total() - mark[0], self.lost[mark[1] :]

    def mark(self) -> tuple[int, int]:
        """This moment, for `since`."""
        return self.calls.total(), len(self.lost)

    def told(self, what: str, mark: tuple[int, int]) -> list[Lost]:
        """Prints what was lost since a `mark`; returns it."""
        calls, lost = self.since(mark)
        line = f"{what}: {calls:,} calls, {len(lost)} lost"
        if lost:
            ways = Counter(f"{each.kind} {each.why}" for each in lost)
            line += f" within {lost[-1].at_s - lost[0].at_s:.1f} s: " + "; ".join(
                f"{count} x {way}" for way, count in ways.most_common()
            )
        print(line, flush=True)
        return lost

    async def differing(self) -> dict[tuple[str, str], tuple[int, int | None]]:
        """What was acknowledged and what is there instead: nothing, if nothing was lost."""
        found = {}
        async with httpx.AsyncClient(base_url=self.url, timeout=_TIMEOUT_S) as client:
            for (user, movie), score in self.acknowledged.items():
                answer = await client.get(f"/v1/users/me/ratings/{movie}", headers=self._bearers[user])
                there = answer.json().get("score") if answer.status_code == 200 else None
                if there != score:
                    found[user, movie] = (score, there)
        return found

    def _movie(self) -> str:
        return self._chance.choice(self.movies)

    async def _read(self, client: httpx.AsyncClient, kind: str, path: str) -> None:
        await self._http(kind, client.get(path, headers=_FRESH))

    async def _own(self, client: httpx.AsyncClient) -> None:
        if not self.acknowledged:
            return
        user, movie = self._chance.choice(list(self.acknowledged))
        await self._http(
            "own rating", client.get(f"/v1/users/me/ratings/{movie}", headers=self._bearers[user])
        )

    async def _rate(self, client: httpx.AsyncClient) -> None:
        number = next(self._numbers)
        user, movie = f"steady-{number % _USERS}", self._movie()
        score = 1 + number % 10
        path, body = f"/v1/users/me/ratings/{movie}", {"score": score, "requestId": str(uuid.uuid4())}
        if await self._http("rate", client.put(path, json=body, headers=self._bearers[user])):
            self.acknowledged[user, movie] = score
        else:
            self.acknowledged.pop((user, movie), None)

    async def _score(self, stub: rankings_pb2_grpc.RankingServiceStub) -> None:
        try:
            await stub.GetScore(
                rankings_pb2.GetScoreRequest(name=f"movies/{self._movie()}/score"), timeout=_TIMEOUT_S
            )
            self._count("score by gRPC")
        except grpc.aio.AioRpcError as error:
            self._count("score by gRPC", f"{error.code().name} {error.details()}"[:120])

    async def _http(self, kind: str, answer: Awaitable[httpx.Response]) -> bool:
        why = ""
        try:
            got = await answer
            if got.status_code != 200:
                why = f"{got.status_code} {_reason(got)}"
        except httpx.TransportError as error:
            why = type(error).__name__
        self._count(kind, why)
        return not why

    def _count(self, kind: str, why: str = "") -> None:
        self.calls[kind] += 1
        if why:
            self.lost.append(Lost(kind, time.monotonic() - self._began, why))


def _reason(answer: httpx.Response) -> str:
    """The reason that an error of the API names, or the start of what is there instead."""
    with contextlib.suppress(ValueError, LookupError):
        return str(answer.json()["error"]["details"][0]["reason"])
    return answer.text[:80]


async def while_it_runs(load: Load, doing: Callable[[], object]) -> tuple[int, int]:
    """Does something in a thread while the load goes on; returns the `mark` of before."""
    await load.more(20, without_loss=True)
    mark = load.mark()
    await asyncio.to_thread(doing)
    return mark
