"""Users at the edge who rate, change their minds, delete, repeat themselves, try again, and remember."""

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge import tokens
from local.commands.http1 import Client, Response
from local.stack.layout import HOST, Stack
from tests.support.repeating import repeatedly

_PATIENCE_S = 6.0
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0

# What a client may see while parts are down. Anything else is a fault of ours.
_PASSING = (429, 499, 503, 504)


@dataclass(frozen=True)
class Wish:
    """A submission under the name that its author gave it."""

    movie: str
    """IMDb id, such as tt0111161."""
    score: int | None
    """None: to delete the rating."""
    request_id: str


@dataclass(frozen=True)
class Stale:
    """A read that did not return what had just been acknowledged."""

    at: float
    """When, on the monotonic clock."""
    what: str


@dataclass
class Journal:
    """What all authors saw."""

    attempts: int = 0
    repeats: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    stale: list[Stale] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    """Of each write, how long it took from its first attempt until it was acknowledged."""
    acknowledged_at: list[float] = field(default_factory=list)
    """Of each write, when that was, on the monotonic clock."""

    @property
    def acknowledged(self) -> int:
        return len(self.took_s)


class Author:
    """One user. Submits one thing after the other, so that it is plain which was last."""

    def __init__(
        self, stack: Stack, name: str, seed: int, client: Client, movies: Sequence[str], journal: Journal
    ) -> None:
        self.name = name
        self.expected: dict[str, int | None] = {}
        """Of each movie, the score that was acknowledged last; None if it was deleted."""
        self.acknowledged: list[Wish] = []
        self._chance = random.Random(f"{seed} {name}")
        self._client = client
        token = tokens.issue(stack.home.tokens, name, (), 24 * 3600, "partner")
        self._headers = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self._movies = movies
        self._journal = journal

    async def act(self) -> None:
        """Waits a moment, then submits something, or what was acknowledged before; mostly reads it too."""
        await asyncio.sleep(self._chance.uniform(0, 0.3))
        draw = self._chance.random()
        if draw < 0.12 and self.acknowledged:
            await self._repeat(self._chance.choice(self.acknowledged[-50:]))
        else:
            score = None if draw > 0.85 else self._chance.randint(1, 10)
            await self._submit(Wish(self._chance.choice(self._movies), score, str(uuid.uuid4())))

    async def ratings(self) -> dict[str, tuple[int, str]]:
        """All of one's ratings, page by page: score and state by IMDb id."""
        found: dict[str, tuple[int, str]] = {}
        token = ""
        while True:
            path = f"/v1/users/me/ratings?pageSize=7&pageToken={token}"
            answer = await self._client.request("GET", path, self._headers)
            assert answer.status == 200, answer.body
            page = json.loads(answer.body)
            for rating in page.get("ratings", ()):
                found[rating["movie"].removeprefix("movies/")] = rating["score"], rating["state"]
            token = page.get("nextPageToken", "")
            if not token:
                return found

    async def _submit(self, wish: Wish) -> None:
        """Sends it, again and again under the same name, until it is acknowledged."""
        began = time.monotonic()
        pause = _FIRST_PAUSE_S
        while True:
            if self._chance.random() < 0.1:  # an impatient client sends it twice at once
                taken = any(await asyncio.gather(self._send(wish), self._send(wish)))
            else:
                taken = await self._send(wish)
            if taken:
                break
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1))
            pause = min(pause * 2, _MAX_PAUSE_S)
        self._journal.acknowledged_at.append(time.monotonic())
        self._journal.took_s.append(time.monotonic() - began)
        self.acknowledged.append(wish)
        self.expected[wish.movie] = wish.score
        if self._chance.random() < 0.5:
            await self._read(wish.movie)

    async def _repeat(self, wish: Wish) -> None:
        """Sends again what was acknowledged some time ago: it must not count a second time."""
        self._journal.repeats += 1
        await self._send(wish)
        await self._read(wish.movie)

    async def _send(self, wish: Wish) -> bool:
        self._journal.attempts += 1
        # Some wait less than the write takes: they never learn that it was taken.
        patience = 0.03 if self._chance.random() < 0.1 else _PATIENCE_S
        path = f"/v1/users/me/ratings/{wish.movie}"
        if wish.score is None:
            answer = await self._call("write", "DELETE", f"{path}?requestId={wish.request_id}", b"", patience)
        else:
            body = json.dumps({"score": wish.score, "requestId": wish.request_id}).encode()
            answer = await self._call("write", "PUT", path, body, patience)
        return answer is not None and answer.status == 200

    async def _read(self, movie: str) -> None:
        answer = await self._call("read", "GET", f"/v1/users/me/ratings/{movie}", b"", _PATIENCE_S, (404,))
        if answer is None or answer.status not in (200, 404):
            return
        found = json.loads(answer.body)["score"] if answer.status == 200 else None
        expected = self.expected[movie]
        if found != expected:
            what = f"{self.name} {movie}: {found}, acknowledged was {expected}"
            self._journal.stale.append(Stale(time.monotonic(), what))

    async def _call(
        self, what: str, method: str, path: str, body: bytes, patience: float, fine: tuple[int, ...] = ()
    ) -> Response | None:
        """The answer; None if there was none."""
        try:
            async with asyncio.timeout(patience):
                answer = await self._client.request(method, path, self._headers, body)
        except (ConnectionError, TimeoutError, OSError) as error:
            self._journal.errors[f"{what} {type(error).__name__}"] += 1
            return None
        if answer.status != 200 and answer.status not in fine:
            self._journal.errors[f"{what} {answer.status} {_message(answer)}"] += 1
            if answer.status not in _PASSING:
                self._journal.unexpected.append(f"{what} {path}: {answer.status}: {answer.body[:300]!r}")
        return answer


def _message(answer: Response) -> str:
    try:
        return str(json.loads(answer.body)["error"]["message"])[:60]
    except (ValueError, KeyError):
        return "in no form of ours"


def writing(people: Sequence[Author], finish_s: float) -> contextlib.AbstractAsyncContextManager[None]:
    """They write and read until the block ends, then finish what is under way, within so many seconds."""
    return repeatedly(*(author.act for author in people), pause_s=0, finish_s=finish_s)


def crowd(stack: Stack, count: int, seed: int, movies: Sequence[str], journal: Journal) -> list[Author]:
    """Authors who share connections to the edge, as browsers behind one proxy do."""
    client = Client(HOST, stack.port("envoy", "edge"))
    return [Author(stack, f"author{i}", seed, client, movies, journal) for i in range(count)]
