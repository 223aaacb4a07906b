"""Ratings in several databases, each a server of its own, under load through the edge.

One is killed: its users' writes are answered nevertheless, other users notice
nothing, and after its return all is stored. Then users move from two databases
to four while they rate.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from local.commands.edge_client import EdgeClient
from local.commands.movielens import Rating, sample_films
from local.stack.layout import Home, Stack, StackError, shard_name
from rating_svc.slots import slot_of
from tests.support.command import marquee
from tests.support.parts import Part
from tests.support.ratings import RatingProcess, User
from tests.support.stacks import running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

FILMS = [str(body["imdbID"]) for body in sample_films()]
USERS = [f"user-{i}" for i in range(24)]
SLOTS = 12
_AWAY_S = 6.0
_STARVED = (429, 503, 504)
_TRIES = 20


@dataclass
class Load:
    """Users who rate and then read what they rated, all the time."""

    stack: Stack
    films: list[str]
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    """What was acknowledged last."""
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Writes, by user."""
    failed: list[str] = field(default_factory=list)
    """What was answered as it never should be: user, what, answer."""
    repeated: list[str] = field(default_factory=list)
    """What a starved machine may answer to anybody, and was asked again."""
    longest_s: dict[str, float] = field(default_factory=dict)
    """Of writes and reads, with their repeats."""

    def __str__(self) -> str:
        longest = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in self.longest_s.items())
        return (
            f"{self.acknowledged.total()} writes acknowledged, {len(self.failed)} calls failed, "
            f"{len(self.repeated)} repeated {Counter(self.repeated)}, longest: {longest}"
        )

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """It goes on meanwhile, and for a moment before and after."""
        for seen in (self.failed, self.repeated, self.longest_s, self.acknowledged):
            seen.clear()
        done = asyncio.Event()
        client = EdgeClient(self.stack, "partner")
        tasks = [asyncio.create_task(self._user(client, user, done)) for user in USERS]
        try:
            await asyncio.sleep(1)
            yield
            await asyncio.sleep(1)
        finally:
            done.set()
            await asyncio.gather(*tasks)
            self.repeated += ["write"] * client.retries
            client.close()

    async def _user(self, client: EdgeClient, user: str, done: asyncio.Event) -> None:
        chance = random.Random(user)
        while not done.is_set():
            film, score = chance.choice(self.films), chance.randint(1, 10)
            try:
                await self._timed("write", client.rate(Rating(user, film, score, 0)))
            except StackError as error:
                self.failed.append(f"{user} write: {error}")
                return
            self.last[user, film] = score
            self.acknowledged[user] += 1
            await self._timed("read", self._read(client, user, film, score))
            await asyncio.sleep(0.2)

    async def _read(self, client: EdgeClient, user: str, film: str, score: int) -> None:
        """Its author reads back what was acknowledged last."""
        wrong = ""
        for _ in range(_TRIES):
            answer = await client.get(f"/v1/users/me/ratings/{film}", user)
            if answer.status == 200 and json.loads(answer.body)["score"] == score:
                return
            wrong = f"{user} read: {answer.status} {answer.body.decode()}"
            if answer.status not in _STARVED or "DATABASE_UNAVAILABLE" in wrong:
                break
            self.repeated.append(f"read {answer.status}")
            await asyncio.sleep(1)
        self.failed.append(wrong)

    async def _timed(self, what: str, call: Awaitable[None]) -> None:
        began = time.monotonic()
        await call
        self.longest_s[what] = max(self.longest_s.get(what, 0), time.monotonic() - began)


async def rows(stack: Stack, number: int, query: str) -> list[asyncpg.Record]:
    server = shard_name(number) if number else "postgres"
    connection = await asyncpg.connect(stack.dsn("rating_svc", server))
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def owners(stack: Stack, count: int) -> dict[int, int]:
    """Which database has each slot."""
    query = "SELECT slot FROM slots WHERE state = 'open'"
    return {row[0]: number for number in range(count) for row in await rows(stack, number, query)}


async def stored(stack: Stack, number: int, user: str) -> dict[tuple[str, str], int]:
    """A user's ratings in one database."""
    found = await rows(stack, number, "SELECT user_id, movie_id, score FROM ratings")
    return {(row[0], f"tt{row[1]:07d}"): row[2] for row in found if row[0] == user}


async def all_stored(stack: Stack, load: Load, count: int) -> None:
    """Waits until each rating is in its user's database, and in no other."""

    async def done() -> bool:
        owner = await owners(stack, count)
        found = [
            (number, (row[0], f"tt{row[1]:07d}"), row[2])
            for number in range(count)
            for row in await rows(stack, number, "SELECT user_id, movie_id, score FROM ratings")
        ]
        return sorted(found) == sorted(
            (owner.get(slot_of(user, SLOTS), -1), (user, film), score)
            for (user, film), score in load.last.items()
        )

    await eventually(done, 90, 0.5)


async def test_a_dead_database_delays_its_own_users_alone_and_users_move_while_they_rate(
    tmp_path: Path,
) -> None:
    with running(Home(tmp_path / "home"), [], shards=4) as stack:
        client = EdgeClient(stack, "partner")
        answers = [(film, await client.get(f"/v1/movies/{film}", "onlooker")) for film in FILMS]
        client.close()
        load = Load(stack, [film for film, answer in answers if answer.status == 200][:8])
        await asyncio.to_thread(marquee, stack.home, "ratings", "reshard", "--over", "2")
        await one_is_killed(stack, load, tmp_path)
        await from_two_to_four(stack, load)


async def one_is_killed(stack: Stack, load: Load, logs: Path) -> None:
    owner = await owners(stack, 2)
    assert sorted(owner.values()) == [0] * 6 + [1] * 6
    dead = {user for user in USERS if owner[slot_of(user, SLOTS)] == 1}
    assert 4 < len(dead) < 20
    async with load.going_on(), Part(stack, shard_name(1)).killed(_AWAY_S):
        # What others rate is stored meanwhile.
        before = {user: await stored(stack, 0, user) for user in USERS if user not in dead}
        taken = load.acknowledged.copy()

        async def going_on() -> bool:
            return all(load.acknowledged[user] > taken[user] + 2 for user in dead) and all(
                [await stored(stack, 0, user) != before[user] for user in before]
            )

        await eventually(going_on, 60, 0.2)
        # Who starts meanwhile does not wait for it.
        async with RatingProcess(stack, "serve", logs) as late, RatingProcess(stack, "worker", logs):
            for user in sorted(before)[:3]:
                assert (await User(late.channel, user).list_page()).ratings
    print(load)
    assert load.failed == []
    await all_stored(stack, load, 2)
    assert ": 0 differ" in await asyncio.to_thread(marquee, stack.home, "verify")


async def from_two_to_four(stack: Stack, load: Load) -> None:
    async with load.going_on():
        said = await asyncio.to_thread(marquee, stack.home, "ratings", "reshard")
    print(said, load, sep="")
    assert load.failed == []
    await all_stored(stack, load, 4)
    assert sorted((await owners(stack, 4)).values()) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert ": 0 differ" in await asyncio.to_thread(marquee, stack.home, "verify")
    assert (await asyncio.to_thread(marquee, stack.home, "status")).count("3 of 12 slots") == 4
