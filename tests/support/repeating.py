"""Calls that are made again and again while something else happens, such as a fault, and what they saw."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from mesh.tasks import end

_LEAST = 20
_PATIENCE_S = 15.0


@contextlib.asynccontextmanager
async def repeatedly(
    *calls: Callable[[], Awaitable[object]], pause_s: float = 0.01, finish_s: float = 60.0
) -> AsyncIterator[None]:
    """Makes each of the calls again and again, side by side, until the block ends.

    What is under way then is finished.

    Raises:
        TimeoutError: it took longer than `finish_s` to finish.
        Exception: what a call has raised, when the block ends; this call is not made again.
    """
    enough = asyncio.Event()

    async def repeat(call: Callable[[], Awaitable[object]]) -> None:
        while not enough.is_set():
            await call()
            await asyncio.sleep(pause_s)

    tasks = [asyncio.create_task(repeat(call)) for call in calls]
    try:
        yield
        enough.set()
        async with asyncio.timeout(finish_s):
            await asyncio.gather(*tasks)
    finally:
        await end(tasks)


@contextlib.asynccontextmanager
async def connected(url: str, count: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of an edge, each with a connection of its own."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S) for _ in range(count)]
        yield [await stack.enter_async_context(client) for client in clients]


@dataclass
class Reads:
    """What readers saw."""

    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def check(self, what: str, slowest_s: float = 5.0) -> None:
        """Prints how fast they were, and fails if any read failed or was slower than that."""
        latencies = sorted(self.latencies_s)
        p50, p99 = (latencies[len(latencies) * share // 100] * 1000 for share in (50, 99))
        print(
            f"{what}: {len(latencies)} reads, {len(self.errors)} errors, "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {latencies[-1] * 1000:.0f} ms"
        )
        assert self.errors == []
        assert len(latencies) > _LEAST
        assert latencies[-1] < slowest_s
