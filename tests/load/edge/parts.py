"""What each part of the edge's configuration costs a call: `python -m tests.load.edge.parts [PART...]`.

One Envoy has all of it, and each of the others lacks one part. They take turns with calls for an own rating,
which one hop answers; a line shows what Envoy used a call, in CPU-µs, and how much that is less than with the
part. Parts are filters by their names in envoy/filters.yaml, `access log`, `tracing`, `early` (what is done
to a request's headers before all filters), and `most`: everything but tokens, the transcoder and the router.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final
from unittest import mock

import psutil

import edge.tracing
from edge import template
from tests.load.edge.calls import Kind, load, request, without_limits
from tests.support.edge.mesh import Edge, running_edge

FILTERS: Final = (
    "answers",
    "cors",
    "errors",
    "tidy",
    "who",
    "rate_limit",
    "body_size",
    "grpc_stats",
    "compressors",
    "shedders",
)
OTHERS: Final = ("access log", "tracing", "early", "most")
ROUNDS: Final = 8
AT_ONCE: Final = 5
KEPT: Final = ("ready", "jwt", "transcoder", "router")


def _without(part: str, name: str, loaded: Any) -> Any:
    """What is left of a template."""
    if name == "access_log" and part in ("access log", "most"):
        return []
    if name == "filters":
        return [each for each in loaded if _stays(part, each["name"])]
    return loaded


def _stays(part: str, name: str) -> bool:
    if part == "most":
        return name in KEPT
    if part == "compressors":
        return "compress" not in name
    if part == "shedders":
        return not name.startswith("shed")
    return name != part


async def _run(parts: Sequence[str], calls: int) -> None:
    # The kernel lets a user watch few files (fs.inotify.max_user_instances); each Envoy takes several.
    for start in range(0, len(parts), AT_ONCE):
        some = parts[start : start + AT_ONCE]
        async with AsyncExitStack() as stack:
            limits = without_limits(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "limits.yaml")
            edges: dict[str, Edge] = {}
            for part in ["", *some]:
                with ExitStack() as patches:
                    edges[part] = await _edge(stack, patches, limits, part)
            costs = {part: min(found) for part, found in (await _costs(edges, calls)).items()}
        print(f"with all: {costs['']:.0f} CPU-µs a call")
        for part in some:
            print(f"    without {part:12} {costs[part]:6.0f}   {costs[part] - costs['']:+6.0f}", flush=True)


async def _edge(stack: AsyncExitStack, patches: ExitStack, limits: Path, part: str) -> Edge:
    whole = template.load

    def some(name: str, *given: Any, **named: Any) -> Any:
        return _without(part, name, whole(name, *given, **named))

    patches.enter_context(mock.patch.object(template, "load", some))
    if part in ("tracing", "most"):
        patches.enter_context(mock.patch.object(edge.tracing, "connection_manager", return_value=None))
    if part in ("tracing", "early", "most"):
        patches.enter_context(mock.patch.object(edge.tracing, "early_mutations", return_value=[]))
    return await stack.enter_async_context(running_edge(limits_file=limits))


async def _costs(edges: Mapping[str, Edge], calls: int) -> dict[str, list[float]]:
    costs: dict[str, list[float]] = {part: [] for part in edges}
    for _ in range(ROUNDS):
        for part, edge_ in edges.items():
            kind = Kind(
                "", request("GET", "/v1/users/me/ratings/tt0111161", edge_.token(tier="partner")), 200
            )
            await load(edge_.settings.edge_port, kind, 50)
            process = psutil.Process(edge_.pid)
            before = process.cpu_times()
            await load(edge_.settings.edge_port, kind, calls)
            after = process.cpu_times()
            for service in edge_.instances:
                service.calls.clear()
            costs[part].append((after.user - before.user + after.system - before.system) / calls * 1e6)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="calls a round (default: 1000)")
    parser.add_argument("parts", nargs="*", default=[*FILTERS, *OTHERS])
    given = parser.parse_args()
    asyncio.run(_run(given.parts, given.calls))


if __name__ == "__main__":
    main()
