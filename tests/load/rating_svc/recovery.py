"""How long each kind of fault is felt: by who writes, and by who waits to see it in the chart.

    python -m tests.load.rating_svc.recovery [--part kafka …] [--kind kill …] [--pause 5]

One instance of everything, the least that a mesh can be. One user writes and
waits for the chart, again and again, from before the fault until the process is
ready again and a second longer. `writes` is the longest that a write took until
it was answered with OK, tries included; `chart` the longest until the score that
the edge answers with held it. Those of a pause hold the pause itself.
"""

import argparse
import asyncio
import itertools
import signal
import time

import uvloop

from local.commands.edge_client import EdgeClient
from local.stack.layout import Shape, Stack
from local.supervision import processes
from mesh.tasks import end
from tests.faults.rating_svc.plan import PARTS
from tests.load.rating_svc.rig import MOVIES, Latencies, drained, mesh, table, votes, warm, write
from tests.support.parts import hung, is_ready, pid_of, send

KINDS = ("kill", "restart", "pause")
_STOP_SIGNALS = {process.name: process.stop_signal for process in processes.table(Shape.PLAIN)}
_numbers = itertools.count()
_CALM_S = 1.0


async def strike(stack: Stack, part: str, kind: str, pause_s: float) -> None:
    pid = pid_of(stack, part)
    if kind == "pause":
        with hung(pid):
            await asyncio.sleep(pause_s)
    else:
        send([pid], signal.SIGKILL if kind == "kill" else _STOP_SIGNALS[part])


async def recovery(
    stack: Stack, client: EdgeClient, part: str, kind: str, pause_s: float
) -> tuple[float, float]:
    """The longest that a write took until it was answered, and until it was in the chart, in seconds."""
    number = next(_numbers)
    others = asyncio.create_task(_others(client, number))
    striking = asyncio.create_task(_strike_soon(stack, part, kind, pause_s))
    writes_s = chart_s = 0.0
    calm_since: float | None = None
    for turn in itertools.count():
        began = time.monotonic()
        movie = MOVIES[number % len(MOVIES)]
        while (before := await votes(client, movie)) < 0:
            await asyncio.sleep(0.02)
        while not await write(client, f"recovery-{number}-{turn}", movie, 7, Latencies()):
            await asyncio.sleep(0.05)
        writes_s = max(writes_s, time.monotonic() - began)
        while await votes(client, movie) <= before:
            await asyncio.sleep(0.02)
        chart_s = max(chart_s, time.monotonic() - began)
        if not striking.done() or not is_ready(stack):
            calm_since = None
        elif calm_since is None:
            calm_since = time.monotonic()
        elif time.monotonic() - calm_since > _CALM_S:
            break
        await asyncio.sleep(0.02)
    await end([others])
    return writes_s, chart_s


async def _strike_soon(stack: Stack, part: str, kind: str, pause_s: float) -> None:
    await asyncio.sleep(0.5)
    await strike(stack, part, kind, pause_s)
    # Until the supervisor has noticed, everything looks ready.
    await asyncio.sleep(1)


async def _others(client: EdgeClient, number: int) -> None:
    """Other users of other movies, forever."""
    for turn in itertools.count():
        movie = MOVIES[(number + 1 + turn % (len(MOVIES) - 2)) % len(MOVIES)]
        await write(client, f"other-{turn}", movie, 5, Latencies())
        await asyncio.sleep(0.05)


async def main(arguments: argparse.Namespace, stack: Stack) -> None:
    client = EdgeClient(stack, "partner")
    kinds = arguments.kinds or KINDS
    await warm(stack, client)
    heads = [f"{kind}: {what}" for kind in kinds for what in ("writes", "chart")]
    rows: list[tuple[object, ...]] = [("part", *heads)]
    for part in arguments.parts or PARTS[Shape.PLAIN]:
        cells: list[str] = []
        for kind in kinds:
            found = await recovery(stack, client, part, kind, arguments.pause)
            cells += [f"{seconds:.1f} s" for seconds in found]
            await drained(stack)
            if kind != "pause":
                # A process that dies again within ten seconds is started again ever later.
                await asyncio.sleep(11)
        rows.append((part, *cells))
        print(part, *cells, flush=True)
    print(table(rows))
    client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS[Shape.PLAIN])
    parser.add_argument("--kind", dest="kinds", action="append", choices=KINDS)
    parser.add_argument("--pause", type=float, default=5.0, help="how long a pause lasts, in seconds")
    given = parser.parse_args()
    with mesh() as running_mesh:
        uvloop.run(main(given, running_mesh))
