"""Users who rate, change their minds, take back, repeat themselves, try again, and remember."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from tests.faults.ratings_parts import User

_ATTEMPT_S = 2.0
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0

# What a client may see while parts are down. Anything else is a fault of ours.
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


@dataclass(frozen=True)
class Wish:
    """A submission under the name that its author gave it."""

    movie: int
    score: int | None
    request_id: str


@dataclass
class Journal:
    """What all authors saw."""

    acknowledged: int = 0
    attempts: int = 0
    repeats: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    """Reads that did not give what had just been acknowledged."""
    unexpected: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    """The longest that a write took from its first attempt until it was acknowledged."""


class Author:
    """One user. Submits one thing after the other, so that it is plain which was last."""

    def __init__(
        self,
        name: str,
        seed: int,
        channels: Sequence[grpc.aio.Channel],
        movies: Sequence[int],
        journal: Journal,
    ) -> None:
        self.name = name
        self.expected: dict[int, int | None] = {}
        """Of each movie, the score that was acknowledged last; None if it was taken back."""
        self._chance = random.Random(f"{seed} {name}")
        self._replicas = [User(channel, name, _ATTEMPT_S) for channel in channels]
        self._movies = movies
        self._journal = journal
        self._history: list[Wish] = []

    async def run(self, until: asyncio.Event) -> None:
        """Submits and reads until told to stop; what was begun is brought to an end."""
        while not until.is_set():
            await asyncio.sleep(self._chance.uniform(0, 0.15))
            draw = self._chance.random()
            if draw < 0.12 and self._history:
                await self._repeat(self._chance.choice(self._history[-50:]))
            else:
                score = None if draw > 0.85 else self._chance.randint(1, 10)
                await self._submit(Wish(self._chance.choice(self._movies), score, str(uuid.uuid4())))

    async def _submit(self, wish: Wish) -> None:
        """Sends it, again and again under the same name, until it is acknowledged."""
        began = time.monotonic()
        pause = _FIRST_PAUSE_S
        while True:
            if self._chance.random() < 0.1:  # an impatient client sends it twice at once
                ended = await asyncio.gather(self._send(wish), self._send(wish))
                taken = any(ended)
            else:
                taken = await self._send(wish)
            if taken:
                break
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1))
            pause = min(pause * 2, _MAX_PAUSE_S)
        self._journal.acknowledged += 1
        self._journal.slowest_s = max(self._journal.slowest_s, time.monotonic() - began)
        self._history.append(wish)
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
        replica = self._chance.choice(self._replicas)
        # Some wait less than the write takes: they never learn that it was taken.
        patience = self._chance.choice((_ATTEMPT_S, _ATTEMPT_S, 0.02))
        try:
            if wish.score is None:
                await replica.delete(wish.movie, wish.request_id, timeout=patience)
            else:
                await replica.rate(wish.movie, wish.score, wish.request_id, timeout=patience)
        except grpc.aio.AioRpcError as error:
            self._note(error, "write")
            return False
        return True

    async def _read(self, movie: int) -> None:
        expected = self.expected[movie]
        try:
            found = await self._chance.choice(self._replicas).score(movie)
        except grpc.aio.AioRpcError as error:
            self._note(error, "read")
            return
        if found != expected:
            self._journal.stale.append(f"{self.name} {movie}: {found}, acknowledged was {expected}")

    def _note(self, error: grpc.aio.AioRpcError, what: str) -> None:
        self._journal.errors[f"{what} {error.code().name}"] += 1
        if error.code() not in _PASSING:
            self._journal.unexpected.append(f"{what}: {error.code().name}: {error.details()}")
