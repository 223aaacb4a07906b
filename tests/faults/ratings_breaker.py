"""Carries out a plan of faults on the processes of a stack, whose supervisor starts again what dies."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mesh.local import state as states
from mesh.local.processes import ALL
from mesh.local.stack import Stack
from tests.faults.ratings_parts import eventually
from tests.faults.ratings_plan import Fault

_ALIVE_S = 15.0
_MENDED_S = 120.0
_STOP_SIGNALS = {process.name: process.stop_signal for process in ALL}

Say = Callable[[str], None]


class Breaker:
    """Strikes; `struck` holds what was done, with the moment of each (monotonic)."""

    def __init__(self, stack: Stack, say: Say) -> None:
        self._stack = stack
        self._say = say
        self._pauses: set[asyncio.Task[None]] = set()
        self.struck: list[tuple[float, Fault]] = []

    async def run(self, plan: Sequence[Fault]) -> None:
        """Carries out a plan; gives back when every process is up again."""
        began = time.monotonic()
        try:
            for fault in plan:
                await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                await self._strike(fault)
        finally:
            # Also when the run is broken off: a process that stays stopped would outlive its stack.
            await asyncio.gather(*self._pauses)
        await eventually(self.all_ready, _MENDED_S, 0.2)

    async def all_ready(self) -> bool:
        """Whether the supervisor finds every process ready."""
        state = states.live(self._stack.home)
        assert state is not None, "the stack's supervisor is gone"
        return all(p.condition == "ready" and p.alive for p in state.processes.values())

    async def _strike(self, fault: Fault) -> None:
        try:
            pid = await eventually(lambda: pid_of(self._stack, fault.process), _ALIVE_S)
        except AssertionError:
            self._say(f"{fault}: passed over, it is not there")
            return
        self._say(str(fault))
        self.struck.append((time.monotonic(), fault))
        if fault.kind == "pause":
            task = asyncio.create_task(_pause(pid, fault.seconds))
            self._pauses.add(task)
            task.add_done_callback(self._pauses.discard)
        else:
            send([pid], signal.SIGKILL if fault.kind == "kill" else _STOP_SIGNALS[fault.part])


def pid_of(stack: Stack, name: str) -> int:
    """The process of that name now; 0 while there is none."""
    state = states.live(stack.home)
    assert state is not None, "the stack's supervisor is gone"
    process = state.processes[name]
    return process.pid if process.alive else 0


@contextlib.contextmanager
def hung(pid: int) -> Iterator[None]:
    """Stops a process and its children for the block: they answer nothing and refuse nothing."""
    pids = _tree(pid)
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


def send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def _pause(pid: int, seconds: float) -> None:
    with hung(pid):
        await asyncio.sleep(seconds)


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(found for child in children for found in _tree(int(child)))]
