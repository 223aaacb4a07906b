"""People who use the mesh that a test breaks."""

import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from local.commands.edge_client import EdgeClient
from local.stack.layout import Stack
from tests.support.repeating import repeatedly

MOVIE = "tt0111161"
# Past the edge's cache.
_FRESH = "Cache-Control: no-cache\r\n"
_NAMES = [f"asks-{number}" for number in range(200)]


@contextlib.asynccontextmanager
async def content(stack: Stack) -> AsyncIterator[None]:
    """So many for whom all is well that what failed before is a small share of all."""
    paths = (f"/v1/movies/{MOVIE}", "/v1/charts/top-rated?pageSize=1", f"/v1/users/me/ratings/{MOVIE}")

    async def rates() -> None:
        # A machine that is busy may be slow to answer: that is not what this is about.
        with contextlib.suppress(OSError, TimeoutError, AssertionError):
            await rate(stack)

    async with repeatedly(rates, pause_s=0.05), asking(stack, *paths, at_once=2, pause_s=0.02):
        yield


@contextlib.asynccontextmanager
async def asking(stack: Stack, *paths: str, at_once: int = 1, pause_s: float) -> AsyncIterator[None]:
    """For the block, each path is asked for past the edge's cache, by so many at once."""
    client = EdgeClient(stack, "partner")
    names = itertools.cycle(_NAMES)

    async def ask(path: str) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await client.get(path, next(names), _FRESH)

    calls: list[Callable[[], Awaitable[None]]] = [
        partial(ask, path) for path in paths for _ in range(at_once)
    ]
    try:
        async with repeatedly(*calls, pause_s=pause_s):
            yield
    finally:
        client.close()


async def statuses(stack: Stack, path: str, times: int) -> set[int]:
    """How so many calls for a path end, past the edge's cache."""
    client = EdgeClient(stack, "partner")
    try:
        return {(await client.get(path, name, _FRESH)).status for name in _NAMES[:times]}
    finally:
        client.close()


async def rate(stack: Stack) -> None:
    """A rating by somebody who has never rated."""
    client = EdgeClient(stack, "partner")
    try:
        answer = await client.put_rating(f"alerts-{uuid.uuid4()}", MOVIE, 9)
        assert answer.status == 200
    finally:
        client.close()
