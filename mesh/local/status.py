"""`marquee status`: what runs, whether it answers, and what it uses."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from mesh.local import canaries, usage
from mesh.local import state as states
from mesh.local.probes import ask, grpc
from mesh.local.processes import ALL
from mesh.local.stack import Home, Stack

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """One process."""

    name: str
    address: str
    """Where it serves: gRPC for Marquee's own, for the others their own protocol."""
    condition: str
    """As its supervisor sees it; `ready` only if it answers now."""
    detail: str
    pid: int
    uptime_s: float
    restarts: int
    memory_mib: float
    """PSS."""
    cpu_s: float
    ports: dict[str, int]


@dataclass(frozen=True)
class Status:
    """The whole stack."""

    phase: str
    edge: str
    processes: list[Line]
    supervisor_pid: int
    supervisor_memory_mib: float

    @property
    def healthy(self) -> bool:
        return self.phase == "ready" and all(line.condition == "ready" for line in self.processes)

    @property
    def memory_mib(self) -> float:
        return self.supervisor_memory_mib + sum(line.memory_mib for line in self.processes)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "healthy": self.healthy, "memory_mib": round(self.memory_mib, 1)}


def look(home: Home, state: states.State) -> Status:
    """Probes and measures all processes now."""
    stack = canaries.placed(home, state.stack(home))
    processes = state.processes | canaries.processes(home)
    answers = asyncio.run(_probe(stack, processes))
    used = usage.measure(p.pid for p in processes.values() if p.alive)
    lines = []
    for process in processes.values():
        wrong = answers.get(process.name, "")
        condition = "not answering" if process.condition == "ready" and wrong else process.condition
        measured = used.get(process.pid)
        ports = _ports(stack, process.name)
        lines.append(
            Line(
                process.name,
                f"127.0.0.1:{next(iter(ports.values()))}" if ports else "",
                condition,
                wrong or process.detail,
                process.pid,
                round(time.time() - process.started_at, 1) if process.alive else 0.0,
                process.restarts,
                round(measured.memory_bytes / MEBIBYTE, 1) if measured else 0.0,
                round(measured.cpu_s, 2) if measured else 0.0,
                ports,
            )
        )
    own = usage.own(state.pid)
    edge = stack.edge_url if "envoy/edge" in stack.ports else ""
    return Status(state.phase, edge, lines, state.pid, round(own.memory_bytes / MEBIBYTE, 1))


async def _probe(stack: Stack, processes: Mapping[str, states.ProcessState]) -> dict[str, str]:
    """What is wrong with each process that should be ready; an empty text if nothing."""
    probes = {name: p.probe for p in ALL for name in stack.names(p.name)}
    names = [name for name, process in processes.items() if process.condition == "ready"]
    answers = await asyncio.gather(*(ask(probes.get(name, grpc), stack, name) for name in names))
    return dict(zip(names, answers, strict=True))


def _ports(stack: Stack, process: str) -> dict[str, int]:
    return {
        key.partition("/")[2]: port for key, port in stack.ports.items() if key.partition("/")[0] == process
    }


def show(status: Status, console: Console) -> None:
    """Prints it as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("process", "address", "state", "pid", "up", "restarts", "MiB", "CPU s"):
        table.add_column(column, justify="left" if column in ("process", "address", "state") else "right")
    for line in status.processes:
        table.add_row(
            line.name,
            line.address,
            f"[green]{line.condition}" if line.condition == "ready" else f"[red]{line.condition}",
            str(line.pid or ""),
            _duration(line.uptime_s),
            str(line.restarts or ""),
            f"{line.memory_mib:.0f}",
            f"{line.cpu_s:.1f}",
        )
    table.add_row(
        "supervisor", "", "", str(status.supervisor_pid), "", "", f"{status.supervisor_memory_mib:.0f}", ""
    )
    table.add_section()
    total = sum(line.cpu_s for line in status.processes)
    table.add_row("all", status.edge, status.phase, "", "", "", f"{status.memory_mib:.0f}", f"{total:.1f}")
    console.print(table)
    console.print("[dim]memory is PSS: what processes share is counted once")
    for line in status.processes:
        if line.detail:
            console.print(f"[yellow]{line.name}: {line.detail}", highlight=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
