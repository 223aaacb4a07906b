"""What tracing costs a call at the edge, in CPU-µs: `python -m tests.load.edge.tracing [--calls N]`.

Calls that reach a service (no cache), by HTTP/JSON; "off" is Envoy without its tracer, as it was before.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock

import edge.tracing
from edge.tracing import EdgeTraceConfig
from tests.load.edge.calls import without_limits
from tests.load.mesh.tracing import in_turns, show
from tests.support.edge.mesh import Edge, running_edge
from tests.support.traces import Collector, collecting

AT_ONCE: Final = 8
_ROUNDS: Final = 4
_PATH: Final = "/v1/users/me/ratings/tt0111161"


async def _off(stack: AsyncExitStack, limits: Path) -> Edge:
    with (
        mock.patch.object(edge.tracing, "connection_manager", return_value=None),
        mock.patch.object(edge.tracing, "early_mutations", return_value=[]),
    ):
        return await stack.enter_async_context(running_edge(limits_file=limits))


async def _edges(stack: AsyncExitStack, collector: Collector, limits: Path) -> Mapping[str, Edge]:
    async def on(ratio: float) -> Edge:
        return await stack.enter_async_context(
            running_edge(limits_file=limits, traces=EdgeTraceConfig(collector.endpoint, ratio))
        )

    return {
        "off": await _off(stack, limits),
        "no collector": await stack.enter_async_context(running_edge(limits_file=limits)),
        "on, unsampled": await on(0.0),
        "on, sampled": await on(1.0),
    }


async def compare(edges: Mapping[str, Edge], calls: int) -> dict[str, list[float]]:
    """CPU-µs a call of each Envoy, round by round."""
    ways = {way: (edge.pid, partial(_drive, edge, calls, edge.bearer())) for way, edge in edges.items()}
    return await in_turns(ways, calls, _ROUNDS)


async def _drive(edge: Edge, calls: int, headers: Mapping[str, str]) -> None:
    async def some() -> None:
        for _ in range(calls // AT_ONCE):
            (await edge.http.get(_PATH, headers=headers)).raise_for_status()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    for service in edge.instances:
        service.calls.clear()


async def _run(calls: int) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = await stack.enter_async_context(collecting())
        edges = await _edges(stack, collector, without_limits(folder / "limits.yaml"))
        found = await compare(edges, calls)
    show(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=800, help="calls a round (default: 800)")
    given = parser.parse_args()
    asyncio.run(_run(given.calls - given.calls % AT_ONCE))


if __name__ == "__main__":
    main()
