"""What counting by route and the access log cost a call: `python -m tests.load.edge.telling [--calls N]`.

As `tests.load.edge.tracing`, in CPU-µs of Envoy, for calls that reach a service.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from unittest import mock

from edge import template
from tests.load.edge.calls import without_limits
from tests.load.edge.tracing import AT_ONCE, compare
from tests.load.mesh.tracing import show
from tests.support.edge.mesh import Edge, running_edge

_WAYS: Final[Mapping[str, frozenset[str]]] = {
    "neither": frozenset(),
    "counted by route": frozenset({"routes", "exposures"}),
    "and a line each": frozenset({"routes", "exposures", "file"}),
}
"""Envoy's access loggers, by their names in envoy/access_log.yaml."""


async def _edge(stack: AsyncExitStack, limits: Path, names: frozenset[str]) -> Edge:
    load = template.load

    def some(name: str, *given: Any, **named: Any) -> Any:
        loaded = load(name, *given, **named)
        return [each for each in loaded if each["name"] in names] if name == "access_log" else loaded

    with mock.patch.object(template, "load", some):
        return await stack.enter_async_context(running_edge(limits_file=limits))


async def _run(calls: int) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        limits = without_limits(folder / "limits.yaml")
        edges = {way: await _edge(stack, limits, names) for way, names in _WAYS.items()}
        found = await compare(edges, calls)
        logs = {way: edge.folder / "access.log" for way, edge in edges.items()}
        lines = {way: len(log.read_text().splitlines()) if log.exists() else 0 for way, log in logs.items()}
    show(found)
    print(f"lines of the access logs: {lines}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=800, help="calls a round (default: 800)")
    given = parser.parse_args()
    asyncio.run(_run(given.calls - given.calls % AT_ONCE))


if __name__ == "__main__":
    main()
