"""Calls that go on while a drill runs: without them nobody would notice that something is broken."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from local.commands.edge_client import EdgeClient
from local.drills.model import Ground
from local.omdb_simulator import films

_USERS: Final = 400
_PAST_CACHES: Final = "Cache-Control: no-cache\r\n"
_CROWDS: Final = 4
_OF_A_CROWD: Final = 5
_TITLES: Final = 20
# Ids that OMDb has not given to anything; each drill begins somewhere else, since absence is remembered.
_UNKNOWN: Final = range(60_000_000, 90_000_000)


async def unknown_titles(ground: Ground) -> None:
    """Asks for titles that nobody knows, each only once: what was not found is remembered."""
    first = random.randrange(_UNKNOWN.start, _UNKNOWN.stop)  # noqa: S311 - no secret
    numbers = itertools.count(first)
    async with _client(ground) as client:
        await _ask_on(client, (f"/v1/movies/tt{number}" for number in numbers), at_once=2, pause_s=1.0)


async def known_titles(ground: Ground) -> None:
    """Reads known titles as many users, past the edge's cache."""
    ids = [str(body["imdbID"]) for body in itertools.islice(films.bodies(), _TITLES)]
    async with _client(ground) as client:
        paths = (f"/v1/movies/{imdb_id}" for imdb_id in itertools.cycle(ids))
        await _ask_on(client, paths, at_once=4, pause_s=0.05)


async def crowds(ground: Ground, before: Callable[[str], Awaitable[None]]) -> None:
    """Reads known titles, each as a crowd that asks for it at once, past the edge's cache.

    `before` is awaited with a title's IMDb id before a crowd asks for it.
    """
    ids = itertools.cycle(str(body["imdbID"]) for body in itertools.islice(films.bodies(), _TITLES))
    users = itertools.cycle(f"drill-{number}" for number in range(_USERS))
    async with _client(ground) as client:

        async def ask_all() -> None:
            while True:
                await before(imdb_id := next(ids))
                asked = (
                    client.get(f"/v1/movies/{imdb_id}", next(users), _PAST_CACHES) for _ in range(_OF_A_CROWD)
                )
                await asyncio.gather(*asked, return_exceptions=True)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CROWDS):
                group.create_task(ask_all())


@contextlib.asynccontextmanager
async def _client(ground: Ground) -> AsyncIterator[EdgeClient]:
    client = EdgeClient(ground.stack, "partner")
    try:
        yield client
    finally:
        client.close()


async def _ask_on(client: EdgeClient, paths: Iterator[str], at_once: int, pause_s: float) -> None:
    users = itertools.cycle(f"drill-{number}" for number in range(_USERS))

    async def ask() -> None:
        while True:
            with contextlib.suppress(ConnectionError, TimeoutError, OSError):
                await client.get(next(paths), next(users), _PAST_CACHES)
            await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(ask())
