"""How long each kind of fault is felt: until writes are taken again, and until they stand in the chart again.

    python -m tests.load.ratings_recovery [--part kafka …] [--pause 5]

One instance of everything, the least that a mesh can be. Times are from the
fault on; of a pause, from its end on. `writes` is until the first write that
was begun after the fault has been answered with OK, tries included; `chart`
until the score that the edge answers with holds it.
"""

import argparse
import asyncio
import itertools
import signal
import time

import uvloop

from mesh.local.edge_client import EdgeClient
from mesh.local.processes import ALL
from mesh.local.stack import Stack
from tests.faults.ratings_breaker import Breaker, hung, pid_of, send
from tests.faults.ratings_plan import PARTS
from tests.load.ratings_mesh import MOVIES, Latencies, drained, mesh, table, votes, warm, write

KINDS = ("kill", "restart", "pause")
_STOP_SIGNALS = {process.name: process.stop_signal for process in ALL}
_numbers = itertools.count()


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
    """Seconds until writes are taken, and until they are in the chart."""
    number = next(_numbers)
    movie, user = MOVIES[number % len(MOVIES)], f"recovery-{number}"
    before = await votes(client, movie)
    # What was begun before the fault, or during it, is under way as in life.
    others = asyncio.create_task(_others(client, number))
    await asyncio.sleep(0.2)
    await strike(stack, part, kind, pause_s)
    began = time.monotonic()
    while not await write(client, user, movie, 7, Latencies()):
        await asyncio.sleep(0.05)
    writes_s = time.monotonic() - began
    while await votes(client, movie) <= before:
        await asyncio.sleep(0.02)
    chart_s = time.monotonic() - began
    others.cancel()
    await asyncio.gather(others, return_exceptions=True)
    return writes_s, chart_s


async def _others(client: EdgeClient, number: int) -> None:
    """Other users of other movies, for ever."""
    for turn in itertools.count():
        movie = MOVIES[(number + 1 + turn % (len(MOVIES) - 2)) % len(MOVIES)]
        await write(client, f"other-{turn}", movie, 5, Latencies())
        await asyncio.sleep(0.05)


async def main(arguments: argparse.Namespace, stack: Stack) -> None:
    client, breaker = EdgeClient(stack, "partner"), Breaker(stack, print)
    await warm(stack, client)
    heads = [f"{kind}: {what}" for kind in KINDS for what in ("writes", "chart")]
    rows: list[tuple[object, ...]] = [("part", *heads)]
    for part in arguments.parts or PARTS:
        cells: list[str] = []
        for kind in KINDS:
            found = await recovery(stack, client, part, kind, arguments.pause)
            cells += [f"{seconds:.1f} s" for seconds in found]
            while not await breaker.all_ready():
                await asyncio.sleep(0.2)
            await drained(stack)
            # A process that dies again within ten seconds is started again ever later.
            await asyncio.sleep(11)
        rows.append((part, *cells))
        print(part, *cells, flush=True)
    print(table(rows))
    client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS)
    parser.add_argument("--pause", type=float, default=5.0, help="how long a pause lasts, in seconds")
    given = parser.parse_args()
    with mesh() as running_mesh:
        uvloop.run(main(given, running_mesh))
