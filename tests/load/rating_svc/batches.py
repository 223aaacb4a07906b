"""What a rating of a batch costs each process: `python -m tests.load.rating_svc.batches`.

    --users 8       at once, each sending one batch after the other
    --size 500      ratings of a batch
    --batches 80    in each round
    --rounds 3      the cheapest counts
    --json FILE     the figures

The mesh of this checkout must be up, with data (`make demo`). Each batch is of a user who has rated nothing
yet, and each rating has a request id. CPU is user and system time of each process with its children, from
the first batch until all ratings are stored and counted, divided by their number; so is the time that they
take. What the processes use when nothing is asked is not in it.
"""

import argparse
import asyncio
import json
import random
import secrets
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
import uvloop

from local.commands import loadtest
from local.commands.edge_client import EdgeClient
from local.stack import state as states
from local.stack.layout import Stack, StackError, default_home
from tests.load.system.bench import used_when_idle
from tests.support import fences

CLIENT = "this client"


@dataclass(frozen=True)
class Round:
    """What a rating came to in one round."""

    cpu_us: dict[str, float]
    """By process."""
    accepted: float
    """Ratings a second, until the last was answered."""
    stored: float
    """The same until all were stored."""
    counted: float
    """The same until all were counted too."""

    refused: dict[str, int]
    """How many were not taken, by why."""

    @property
    def total(self) -> float:
        return sum(self.cpu_us.values())

    def __str__(self) -> str:
        parts = sorted(self.cpu_us.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {used:.1f}" for name, used in parts if used >= 0.5)
        return (
            f"{self.accepted:,.0f} ratings/s accepted, {self.stored:,.0f} stored, "
            f"{self.counted:,.0f} counted; {self.total:.0f} CPU-µs a rating: {told}"
            + (f"; refused: {self.refused}" if self.refused else "")
        )


def batch(movies: list[str], size: int, chance: random.Random) -> bytes:
    """A request's body: ratings of as many movies."""
    requests = [
        {
            "name": f"users/me/ratings/{movie}",
            "score": chance.randint(1, 10),
            "requestId": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        }
        for movie in chance.sample(movies, size)
    ]
    return json.dumps({"requests": requests}).encode()


async def send(client: EdgeClient, sender: int, bodies: list[bytes], answers: list[bytes]) -> None:
    """Sends batches, each as another user, until none is left."""
    while bodies:
        user = f"batch-{sender}-{secrets.token_hex(6)}"
        answer = await client.post("/v1/users/me/ratings:batchRate", user, bodies.pop())
        if answer.status != 200:
            raise StackError(f"a batch: {answer.status} {answer.body[:300].decode(errors='replace')}")
        answers.append(answer.body)


async def done(stack: Stack) -> None:
    """Waits until all that is stored was told by the relay and counted."""
    connection = await asyncpg.connect(stack.dsn("rating_svc"))
    while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
        await asyncio.sleep(0.05)
    await connection.close()
    await fences.counted(stack, 120)


async def measure(
    stack: Stack, arguments: argparse.Namespace, movies: list[str], idle_us_s: dict[str, float]
) -> Round:
    chance = random.Random(secrets.randbits(64))
    bodies = [batch(movies, arguments.size, chance) for _ in range(arguments.batches)]
    answers: list[bytes] = []
    pids, client = loadtest.pids(stack), EdgeClient(stack, "partner")
    before, own, began = loadtest.cpu(pids), time.process_time(), time.perf_counter()
    await asyncio.gather(*(send(client, number, bodies, answers) for number in range(arguments.users)))
    accepted_s, own = time.perf_counter() - began, time.process_time() - own
    await fences.stored(stack, 120)
    stored_s = time.perf_counter() - began
    await done(stack)
    counted_s, after = time.perf_counter() - began, loadtest.cpu(pids)
    client.close()
    reasons = Counter(result["reason"] for answer in answers for result in json.loads(answer)["results"])
    ratings = reasons.pop("")
    used = {
        name: max(0.0, (after[name] - before[name]) * 1e6 - idle_us_s[name] * counted_s) / ratings
        for name in pids
    }
    cpu_us = {**used, CLIENT: own * 1e6 / ratings}
    return Round(cpu_us, ratings / accepted_s, ratings / stored_s, ratings / counted_s, dict(reasons))


async def run(arguments: argparse.Namespace) -> Round:
    home = default_home()
    stack = states.running_stack(home)
    movies = loadtest.known_movies(stack)
    idle = await used_when_idle(loadtest.pids(stack))
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append(await measure(stack, arguments, movies, idle))
        print(rounds[-1], flush=True)
    return min(rounds, key=lambda each: each.total)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.load.rating_svc.batches", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--batches", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    best = uvloop.run(run(arguments))
    print(f"\ncheapest: {best}")
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(best), indent=1) + "\n")


if __name__ == "__main__":
    main()
