"""The state file: what the supervisor says of itself and of its processes, replaced atomically."""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from local.stack.layout import Home, Shape, Stack, StackError, write_private

Phase = Literal["starting", "ready", "stopping", "failed"]
Condition = Literal["waiting", "preparing", "starting", "ready", "restarting", "stopped", "failed"]


@dataclass
class ProcessState:
    """One process."""

    name: str
    condition: Condition = "waiting"
    pid: int = 0
    started_ticks: int = 0
    """The kernel's start time of `pid`: together they name a process uniquely."""
    ready_at: float = 0.0
    """When it was last found ready, in seconds since the epoch."""
    started_at: float = 0.0
    restarts: int = 0
    detail: str = ""
    """What went wrong last."""

    @property
    def alive(self) -> bool:
        return is_alive(self.pid, self.started_ticks)


@dataclass
class State:
    """The whole stack."""

    pid: int
    started_ticks: int
    phase: Phase = "starting"
    reason: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    shape: Shape = Shape.PLAIN
    environment: str = ""
    """What it is for, as MARQUEE_ENVIRONMENT said when it was started."""
    processes: dict[str, ProcessState] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return is_alive(self.pid, self.started_ticks)

    def stack(self, home: Home) -> Stack:
        return Stack(home, self.ports, self.instances, Shape(self.shape))


def write(path: Path, state: State) -> None:
    write_private(path, json.dumps(dataclasses.asdict(state), indent=1))


def read(path: Path) -> State | None:
    """The state as last written, whether its supervisor lives or not; None if there is none."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    raw["processes"] = {name: ProcessState(**process) for name, process in raw["processes"].items()}
    return State(**raw)


def live(home: Home) -> State | None:
    """The state of a stack whose supervisor runs."""
    state = read(home.state_file)
    return state if state is not None and state.alive else None


def running(home: Home) -> State:
    """The state of the mesh that is up.

    Raises:
        StackError: none is.
    """
    state = live(home)
    if state is None:
        raise StackError("the mesh is not up: start it with `marquee up`")
    return state


def running_stack(home: Home) -> Stack:
    """The stack of the mesh that is up.

    Raises:
        StackError: none is.
    """
    return running(home).stack(home)


def start_ticks(pid: int) -> int:
    """When the kernel started that process, in clock ticks since boot; 0 if there is none."""
    try:
        # The name, in brackets, may hold spaces and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """Whether that very process runs: a later one that got the same pid does not count."""
    return pid > 0 and ticks > 0 and start_ticks(pid) == ticks


def own(phase: Phase = "starting") -> State:
    """A state for a supervisor that begins."""
    declared = os.environ.get("MARQUEE_ENVIRONMENT", "").strip()
    return State(os.getpid(), start_ticks(os.getpid()), phase, environment=declared)
