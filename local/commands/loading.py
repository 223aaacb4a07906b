"""How the demo's ratings go in: a history in batches, and a part as people give them, one PUT a rating."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import uvloop
from rich.console import Console

from local.commands import steps
from local.commands.edge_client import EdgeClient
from local.commands.movielens import Dataset, Rating
from local.stack.layout import Stack, StackError

_AT_ONCE: Final = 32
_BATCH: Final = 250
_SINGLE_OF: Final = 20
"""One of so many ratings goes in by itself, where both ways are used."""
_LEAST_SINGLE: Final = 500
# An importer's tier: the demo measures the mesh, not the limits of a single reader.
_TIER: Final = "partner"


class Way(StrEnum):
    """How ratings are sent."""

    BOTH = "both"
    """Most of the users' in batches, the others' one by one."""
    BATCH = "batch"
    SINGLE = "single"


@dataclass(frozen=True)
class Sent:
    """What sending came to."""

    batched: int
    batched_s: float
    single: int
    single_s: float
    retries: int
    """Calls that were repeated."""

    def __str__(self) -> str:
        parts = [
            f"{count:,} {how} in {took:.1f} s: [bold]{count / took:,.0f} a second through HTTP[/]"
            for count, how, took in (
                (self.batched, f"ratings in batches of {_BATCH}", self.batched_s),
                (self.single, "with one PUT each", self.single_s),
            )
            if count
        ]
        return f"{'; '.join(parts)} ({self.retries} sent again)"


def send(stack: Stack, dataset: Dataset, console: Console, way: Way) -> Sent:
    """Sends all ratings, each user's one after the other.

    Raises:
        StackError: one was refused, or a minute's tries failed.
    """
    batched, single = _divided(list(dataset.by_user().values()), way)
    began = time.monotonic()
    retries = uvloop.run(_send(stack, batched, console, batch=True)) if batched else 0
    between = time.monotonic()
    retries += uvloop.run(_send(stack, single, console, batch=False)) if single else 0
    ended = time.monotonic()
    return Sent(sum(map(len, batched)), between - began, sum(map(len, single)), ended - between, retries)


def _divided(users: list[list[Rating]], way: Way) -> tuple[list[list[Rating]], list[list[Rating]]]:
    """Whose ratings go in batches, and whose one by one."""
    if way is Way.BATCH:
        return users, []
    if way is Way.SINGLE:
        return [], users
    wanted = max(_LEAST_SINGLE, sum(map(len, users)) // _SINGLE_OF)
    single: list[list[Rating]] = []
    while users and sum(map(len, single)) < wanted:
        single.append(users.pop())
    return users, single


async def _send(stack: Stack, users: Sequence[list[Rating]], console: Console, *, batch: bool) -> int:
    """Returns how many calls were repeated."""
    queue = list(users)[::-1]
    with steps.progress(console, sum(map(len, users))) as advance:
        client = EdgeClient(stack, _TIER)

        async def work() -> None:
            while queue:
                await _send_user(client, queue.pop(), advance, batch=batch)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(work())
        except* StackError as failed:
            raise failed.exceptions[0] from None
        finally:
            client.close()
        return client.retries


async def _send_user(
    client: EdgeClient, ratings: Sequence[Rating], advance: Callable[[int], None], *, batch: bool
) -> None:
    if batch:
        for start in range(0, len(ratings), _BATCH):
            part = ratings[start : start + _BATCH]
            await client.rate_batch(part[0].user, part)
            advance(len(part))
        return
    for rating in ratings:
        await client.rate(rating)
        advance(1)
