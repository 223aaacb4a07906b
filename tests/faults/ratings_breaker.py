"""Breaks parts of a running rating_svc and its stores, at moments that a seed decides."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.local import state as states
from mesh.local.stack import Stack
from tests.faults.ratings_parts import Role, eventually

_READY_S = 120.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """Something that can be broken, and mends by itself."""

    name: str
    pid: Callable[[], int]
    """The process now; 0 while there is none."""
    ready: Callable[[], Awaitable[bool]]

    def tree(self) -> list[int]:
        pid = self.pid()
        return _tree(pid) if pid else []


def store_part(stack: Stack, name: str) -> Part:
    """A store of a local stack, whose supervisor starts it again."""

    def pid() -> int:
        state = states.live(stack.home)
        assert state is not None, "the stack's supervisor is gone"
        process = state.processes[name]
        return process.pid if process.alive else 0

    async def ready() -> bool:
        state = states.live(stack.home)
        return state is not None and state.processes[name].condition == "ready"

    return Part(name, pid, ready)


class Keeper:
    """Starts processes again when they have died, as Kubernetes would."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self.roles = list(roles)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Keeper":
        # One after the other: the first creates schema and topics.
        for role in self.roles:
            await role.start()
        self._tasks = [asyncio.create_task(self._keep(role)) for role in self.roles]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for role in self.roles:
            await role.__aexit__(None, None, None)

    def parts(self) -> list[Part]:
        return [_role_part(role) for role in self.roles]

    async def _keep(self, role: Role) -> None:
        while True:
            # Looked at now and then: to wait for each would take all of asyncio's threads.
            await asyncio.sleep(0.3)
            if role.process is not None and role.process.poll() is not None:
                role.spawn()


class Breaker:
    """Breaks parts, one or two at a time."""

    def __init__(self, parts: Sequence[Part], seed: int, say: Say) -> None:
        self._parts = list(parts)
        self._chance = random.Random(seed)
        self._say = say
        self.count = 0

    async def run(self, seconds: float) -> None:
        """Breaks parts for that long; then waits until all are mended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._chance.uniform(0.2, 2.5))
            await self._strike()
        for part in self._parts:
            await eventually(part.ready, _READY_S)

    async def _strike(self) -> None:
        part = self._chance.choice(self._parts)
        kind = self._chance.choice(("kill", "kill", "freeze", "freeze, kill another"))
        self.count += 1
        if kind == "kill":
            self._kill(part)
            return
        frozen = part.tree()
        seconds = self._chance.uniform(0.5, 9.0)
        self._say(f"{part.name} hangs for {seconds:.1f} s")
        _signal(frozen, signal.SIGSTOP)
        try:
            if kind == "freeze":
                await asyncio.sleep(seconds)
            else:
                await asyncio.sleep(seconds / 2)
                self._kill(self._chance.choice(self._parts))
                await asyncio.sleep(seconds / 2)
        finally:
            _signal(frozen, signal.SIGCONT)

    def _kill(self, part: Part) -> None:
        self._say(f"{part.name} is killed")
        pid = part.pid()
        if pid:
            _signal([pid], signal.SIGKILL)


def _role_part(role: Role) -> Part:
    def pid() -> int:
        return role.process.pid if role.process is not None and role.process.poll() is None else 0

    async def ready() -> bool:
        return pid() != 0 and await role.serving()

    return Part(f"{role.role} {role.address.rpartition(':')[2]}", pid, ready)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(found for child in children for found in _tree(int(child)))]
