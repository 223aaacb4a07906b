"""Stacks of their own, for tests and measurements."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from local.stack import state as states
from local.stack.layout import Home, Shape, Stack
from local.supervision import progress, supervisor
from local.supervision.stores import INSTANCES

_WITH_US = ("setpriv", "--pdeathsig=SIGTERM", "--")


@contextmanager
def running(
    home: Home,
    only: Sequence[str],
    instances: dict[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    shape: Shape = Shape.PLAIN,
    folder: Path | None = None,
    shards: int = 1,
) -> Iterator[Stack]:
    """A stack in a folder of its own and on free ports; the kernel ends it should pytest be killed.

    Ratings may be spread over `shards` databases; at first, all are in one. With `folder`, it is that
    checkout's: `environment` must name it as PYTHONPATH too.
    """
    home.make()
    with home.log("supervisor").open("ab") as output:
        daemon = subprocess.Popen(
            [*_WITH_US, *supervisor.arguments(home, list(only), instances or {}, 0, shape, shards)],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        progress.wait(home, daemon)
        state = states.live(home)
        assert state is not None
        yield state.stack(home)
    finally:
        daemon.terminate()
        daemon.wait(120)


@asynccontextmanager
async def started(
    home: Home, only: Sequence[str], environment: Mapping[str, str], shape: Shape = Shape.PLAIN
) -> AsyncIterator[Stack]:
    """As `running`, for what goes on in the event loop meanwhile."""
    instances = INSTANCES[shape] if shape is Shape.CLUSTER else None
    stack = running(home, only, instances, environment, shape)
    ready = await asyncio.to_thread(stack.__enter__)
    try:
        yield ready
    finally:
        await asyncio.to_thread(stack.__exit__, None, None, None)
