"""Parts of a running stack that are killed, or stopped so that they hang, and come back by themselves."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from local.commands import usage
from local.commands.status import look
from local.stack import state as states
from local.stack.layout import Shape, Stack
from local.supervision.processes import table
from tests.support.waiting import eventually

# A PostgreSQL server that was lost may have to be set back before it follows again.
_MENDED_S: Final = 180.0


def pid_of(stack: Stack, name: str) -> int:
    """The process of that name now; 0 while there is none."""
    process = _state(stack).processes[name]
    return process.pid if process.alive else 0


def pids_of(stack: Stack, name: str) -> list[int]:
    """All that belongs to that process now: its children, and what it started that outlives it."""
    kinds = {kind.name: kind for kind in table(stack.shape)}
    also = kinds[name.partition(".")[0]].also(stack, name)
    return [pid for root in (pid_of(stack, name), *also) if root for pid in usage.tree(root)]


def is_ready(stack: Stack, *names: str) -> bool:
    """Whether the supervisor finds these processes ready; without names, every one."""
    processes = _state(stack).processes
    found = [processes[name] for name in names] if names else list(processes.values())
    return all(process.condition == "ready" and process.alive for process in found)


async def answers(stack: Stack) -> bool:
    """Whether every part is ready, and says so when it is asked now."""
    if not is_ready(stack):
        return False
    return (await asyncio.to_thread(look, stack.home, _state(stack))).healthy


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """A session of a database may have ended since it was listed, or as the first are let go on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def hung(*roots: int) -> Iterator[None]:
    """Stops processes and their children for the block: they answer nothing and refuse nothing."""
    pids = [pid for root in roots for pid in usage.tree(root)]
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


# What these stand for in a cluster: the server with this role now.
_ROLES: Final = {
    "postgres": ("postgres", "leader"),
    "postgres-replica": ("postgres", "sync standby"),
    "redis": ("redis", "master"),
}
DATABASES: Final = "databases"
"""All servers of PostgreSQL."""


async def part(stack: Stack, name: str) -> "Part":
    """The part of a name, in whatever shape: `postgres` is the primary, `kafka` is all of Kafka."""
    if stack.shape is Shape.PLAIN:
        return Part(stack, *(("postgres", "postgres-replica") if name == DATABASES else (name,)))
    if name in _ROLES:
        return Part(stack, await holder(stack, *_ROLES[name]))
    return Part(stack, *stack.names("postgres" if name == DATABASES else name))


async def holder(stack: Stack, process: str, role: str) -> str:
    """The instance of a process that has a role now; waits until one has."""
    asked = next(kind.role for kind in table(stack.shape) if kind.name == process)
    assert asked is not None, f"{process} has no roles"

    async def found() -> str:
        for name in stack.names(process):
            with contextlib.suppress(Exception):
                if await asked(stack, name) == role:
                    return name
        return ""

    return await eventually(found, _MENDED_S, 0.5, what=f"a {role} of {process}")


class Part:
    """Processes of the stack, held down or held still for a while."""

    def __init__(self, stack: Stack, *names: str) -> None:
        self._stack = stack
        self._names = names

    @contextlib.asynccontextmanager
    async def killed(self, seconds: float) -> AsyncIterator[None]:
        """Killed, and only started again after a while: its supervisor is held still."""
        with unattended(self._stack):
            self.kill()
            yield
            await asyncio.sleep(seconds)
        await eventually(lambda: is_ready(self._stack, *self._names), _MENDED_S, what=f"{self._names} again")

    @contextlib.asynccontextmanager
    async def hanging(self, seconds: float) -> AsyncIterator[None]:
        """Stopped: connections stay open, and nothing comes."""
        with unattended(self._stack), self.hung():
            yield
            await asyncio.sleep(seconds)

    @property
    def pid(self) -> int:
        """Of the first of them."""
        return pid_of(self._stack, self._names[0])

    def kill(self) -> None:
        """Kills it; its supervisor starts it again."""
        send(self._pids(), signal.SIGKILL)

    def hung(self) -> contextlib.AbstractContextManager[None]:
        """Stops it for the block: it answers nothing and refuses nothing."""
        return hung(*self._pids())

    def _pids(self) -> list[int]:
        return [pid for name in self._names for pid in pids_of(self._stack, name)]


@contextlib.contextmanager
def unattended(stack: Stack) -> Iterator[None]:
    """For the block, nothing that dies is started again: the supervisor is held still."""
    supervisor = _state(stack).pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def _state(stack: Stack) -> states.State:
    found = states.live(stack.home)
    assert found is not None, "the stack's supervisor is gone"
    return found
