"""Parts of a running stack that are killed, or stopped so that they hang, and come back by themselves."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.local import state as states
from mesh.local.stack import Stack


async def eventually(check: Callable[[], Awaitable[object]], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not await check():
            await asyncio.sleep(0.05)


class Part:
    """A process of the stack, held down or held still for a while."""

    def __init__(self, place: Stack, name: str) -> None:
        self._home = place.home
        self._name = name

    def _state(self) -> states.State:
        found = states.live(self._home)
        assert found is not None
        return found

    @property
    def pid(self) -> int:
        return self._state().processes[self._name].pid

    @asynccontextmanager
    async def killed(self, seconds: float) -> AsyncIterator[None]:
        """Killed, and only started again after a while: its supervisor is held still."""
        supervisor = self._state().pid
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(self.pid, signal.SIGKILL)
            yield
            await asyncio.sleep(seconds)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        await eventually(self._is_ready, 60)

    @asynccontextmanager
    async def hanging(self, seconds: float) -> AsyncIterator[None]:
        """Stopped: connections stay open, and nothing comes."""
        pids = [self.pid, *_children(self.pid)]
        supervisor = self._state().pid
        os.kill(supervisor, signal.SIGSTOP)
        try:
            _signal(pids, signal.SIGSTOP)
            yield
            await asyncio.sleep(seconds)
        finally:
            _signal(pids, signal.SIGCONT)
            os.kill(supervisor, signal.SIGCONT)

    async def _is_ready(self) -> bool:
        process = self._state().processes[self._name]
        return process.condition == "ready" and process.alive


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    """A session of a database may have ended since it was listed, or as the first are let go on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
