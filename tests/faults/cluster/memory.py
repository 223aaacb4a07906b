"""What the shape of production takes more than the plain one, under the same load: PSS of all processes.

python -m tests.faults.cluster.memory
"""

import asyncio
import tempfile
from pathlib import Path

from local.commands.movielens import sample_films
from local.commands.status import Status, look
from local.stack import state as states
from local.stack.layout import Home, Shape, Stack
from tests.faults.cluster.probes import Watcher
from tests.faults.rating_svc.authors import Journal, crowd, writing
from tests.support.stacks import running

_LOAD_S = 60.0
_AUTHORS = 8
_MOVIES = 30
LIMIT_MIB = 1024.0
"""How much more it may be."""


async def loaded(stack: Stack) -> tuple[Status, int]:
    """What all processes use while authors write and others read, and how many writes were acknowledged."""
    movies = [str(body["imdbID"]) for body in sample_films()[:_MOVIES]]
    journal = Journal()
    people = crowd(stack, _AUTHORS, 1, movies, journal)
    async with writing(people, _LOAD_S), Watcher(stack, movies, journal).watching():
        await asyncio.sleep(_LOAD_S)
        running_now = states.live(stack.home)
        assert running_now is not None
        status = await asyncio.to_thread(look, stack.home, running_now)
    return status, journal.acknowledged


def main() -> None:
    totals = {}
    for shape in Shape:
        with (
            tempfile.TemporaryDirectory(prefix="marquee-memory-") as folder,
            running(Home(Path(folder)), [], shape=shape) as stack,
        ):
            status, acknowledged = asyncio.run(loaded(stack))
        totals[shape] = status.memory_mib
        print(
            f"{shape}: {status.memory_mib:.0f} MiB in {len(status.processes)} processes "
            f"after {_LOAD_S:g} s and {acknowledged} writes",
            flush=True,
        )
        by_kind: dict[str, float] = {}
        for line in status.processes:
            kind = line.name.partition(".")[0]
            by_kind[kind] = by_kind.get(kind, 0.0) + line.memory_mib
        print("  " + ", ".join(f"{kind} {mib:.0f}" for kind, mib in by_kind.items()), flush=True)
    more = totals[Shape.CLUSTER] - totals[Shape.PLAIN]
    print(f"{more:.0f} MiB more")
    raise SystemExit(more > LIMIT_MIB)


if __name__ == "__main__":
    main()
