"""What the supervisor must know of a process: the tables of processes are made of these."""

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from local.servers.probes import Probe
from local.stack.layout import Stack

Prepare = Callable[[Stack, str, IO[bytes]], Awaitable[None]]

SLOW_START_S: Final = 300.0
"""How long servers on a JVM may take: they need up to 17 s of CPU time, of which a busy machine has few."""


@dataclass(frozen=True)
class Process:
    """How one process is started, found ready, and stopped."""

    name: str
    command: Callable[[Stack, str], Sequence[str]]
    """From the stack and the name of the instance."""
    ports: Sequence[str]
    """What it needs ports for."""
    probe: Probe
    needs: Sequence[str] = ()
    """Processes that must be ready first and stop later, as far as they are part of the stack."""
    environment: Callable[[Stack, str], Mapping[str, str]] = lambda _stack, _name: {}
    prepare: Prepare | None = None
    """Runs before each first start of an instance, with its name and the log to write to."""
    once_ready: Callable[[Stack], Awaitable[None]] | None = None
    """Runs when the first instance first answers, before others may count on it."""
    privileges: Callable[[Stack], Sequence[str]] = lambda _stack: ()
    """Options of setpriv."""
    successor: Callable[[int], Sequence[str]] | None = None
    """More options for the process that takes over from a running one; from how many there were before."""
    also: Callable[[Stack, str], Sequence[int]] = lambda _stack, _name: ()
    """Processes that it started and that live on when it dies: they are no children of anybody here."""
    role: Callable[[Stack, str], Awaitable[str]] | None = None
    """The role of an instance at the moment, such as `leader`."""
    start_timeout_s: float = 90.0
    """How long it may take to be ready."""
    restart_after_s: float = 0.0
    """How long others must have had to take its place before it is started again."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
