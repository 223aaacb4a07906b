"""Carries out a plan of faults on the processes of a stack, whose supervisor starts again what dies."""

import asyncio
import itertools
import math
import signal
import time
from collections.abc import Callable, Sequence

from local.stack.layout import Shape, Stack
from local.supervision.processes import table
from tests.faults.rating_svc.plan import Fault
from tests.support.parts import answers, hung, is_ready, pid_of, pids_of, send, unattended
from tests.support.waiting import eventually

_ALIVE_S = 15.0
_QUORUM = 3
_MENDED_S = 120.0
# By shape: Patroni stops at a signal at which a PostgreSQL server alone waits for its clients to go.
_STOP_SIGNALS = {(shape, process.name): process.stop_signal for shape in Shape for process in table(shape)}

Say = Callable[[str], None]


class Breaker:
    """Strikes; `struck` holds what was done, with the moment of each (monotonic).

    Args:
        apart_s: if above zero, faults of another moment come only when all parts have answered again for so
            long, and none after this many seconds: `within_s`.
    """

    def __init__(self, stack: Stack, say: Say, apart_s: float = 0.0, within_s: float = math.inf) -> None:
        self._stack = stack
        self._say = say
        self._apart_s = apart_s
        self._within_s = within_s
        self._pauses: set[asyncio.Task[None]] = set()
        self._held: set[str] = set()
        self.struck: list[tuple[float, Fault]] = []

    async def run(self, plan: Sequence[Fault]) -> None:
        """Carries out a plan; returns when every process is up again."""
        began = time.monotonic()
        try:
            for at_s, faults in itertools.groupby(plan, lambda fault: fault.at_s):
                await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
                if self._apart_s:
                    await self._calm()
                if time.monotonic() - began > self._within_s:
                    break
                for fault in faults:
                    await self._strike(fault)
        finally:
            # Also when the run is broken off: a process that stays stopped would outlive its stack.
            await asyncio.gather(*self._pauses)
        await eventually(lambda: is_ready(self._stack), _MENDED_S, 0.2)

    async def _calm(self) -> None:
        await asyncio.gather(*self._pauses)
        await eventually(lambda: answers(self._stack), _MENDED_S, 0.2)
        await asyncio.sleep(self._apart_s)

    async def _strike(self, fault: Fault) -> None:
        try:
            await eventually(lambda: pid_of(self._stack, fault.process), _ALIVE_S)
            await self._others_are_there(fault)
        except AssertionError:
            self._say(f"{fault}: passed over, it is not there")
            return
        self._say(str(fault))
        self.struck.append((time.monotonic(), fault))
        if fault.kind in ("pause", "lose"):
            task = asyncio.create_task(self._pause(fault) if fault.kind == "pause" else self._lose(fault))
            self._pauses.add(task)
            task.add_done_callback(self._pauses.discard)
        elif fault.kind == "kill":
            send(pids_of(self._stack, fault.process), signal.SIGKILL)
        else:
            send([pid_of(self._stack, fault.process)], _STOP_SIGNALS[self._stack.shape, fault.part])

    async def _others_are_there(self, fault: Fault) -> None:
        """Of a store with several servers, a majority must be there: it waits until all others are."""
        names = self._stack.names(fault.part)
        if self._stack.shape is Shape.PLAIN or len(names) < _QUORUM:
            return
        others = [name for name in names if name != fault.process]
        await eventually(lambda: is_ready(self._stack, *others) and not self._held & set(others), _MENDED_S)

    async def _pause(self, fault: Fault) -> None:
        self._held.add(fault.process)
        with hung(*pids_of(self._stack, fault.process)):
            await asyncio.sleep(fault.seconds)
        self._held.discard(fault.process)

    async def _lose(self, fault: Fault) -> None:
        with unattended(self._stack):
            send(pids_of(self._stack, fault.process), signal.SIGKILL)
            await asyncio.sleep(fault.seconds)
