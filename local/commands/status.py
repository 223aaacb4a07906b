"""`marquee status`: what runs, whether it answers, and what it uses."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from local.commands import canaries, usage
from local.servers.probes import ask, grpc
from local.servers.process import Process
from local.stack import state as states
from local.stack.layout import Home, Stack
from local.supervision.processes import table

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
    role: str
    """Its role, such as `leader`; empty where all are alike."""
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
    shape: str
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
    kinds = {name: kind for kind in table(stack.shape) for name in stack.names(kind.name)}
    answers, roles = asyncio.run(_ask_all(stack, processes, kinds))
    also = {name: kind.also(stack, name) for name, kind in kinds.items()}
    living = [process for process in processes.values() if process.alive]
    used = usage.measure(pid for p in living for pid in (p.pid, *also.get(p.name, ())))
    lines = []
    for process in processes.values():
        wrong = answers.get(process.name, "")
        condition = "not answering" if process.condition == "ready" and wrong else process.condition
        measured = [used[pid] for pid in (process.pid, *also.get(process.name, ())) if pid in used]
        ports = _ports(stack, process.name)
        lines.append(
            Line(
                process.name,
                f"127.0.0.1:{next(iter(ports.values()))}" if ports else "",
                condition,
                wrong or process.detail,
                roles.get(process.name, ""),
                process.pid,
                round(time.time() - process.started_at, 1) if process.alive else 0.0,
                process.restarts,
                round(sum(each.memory_bytes for each in measured) / MEBIBYTE, 1),
                round(sum(each.cpu_s for each in measured), 2),
                ports,
            )
        )
    own = usage.own(state.pid)
    edge = stack.edge_url if "envoy/edge" in stack.ports else ""
    return Status(state.phase, stack.shape, edge, lines, state.pid, round(own.memory_bytes / MEBIBYTE, 1))


async def _ask_all(
    stack: Stack, processes: Mapping[str, states.ProcessState], kinds: Mapping[str, Process]
) -> tuple[dict[str, str], dict[str, str]]:
    """What is wrong with each process that should be ready (an empty text if nothing), and its role."""
    roles: dict[str, str] = {}

    async def ask_one(name: str) -> str:
        kind = kinds.get(name)
        wrong = await ask(kind.probe if kind else grpc, stack, name)
        if kind is None or kind.role is None or wrong:
            return wrong
        role = kind.role

        async def learn(stack: Stack, name: str) -> None:
            roles[name] = await role(stack, name)

        return await ask(learn, stack, name)

    names = [name for name, process in processes.items() if process.condition == "ready"]
    answers = await asyncio.gather(*map(ask_one, names))
    return dict(zip(names, answers, strict=True)), roles


def _ports(stack: Stack, process: str) -> dict[str, int]:
    return {
        key.partition("/")[2]: port for key, port in stack.ports.items() if key.partition("/")[0] == process
    }


def show(status: Status, console: Console) -> None:
    """Prints it as a table."""
    lines = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("process", "address", "state", "role", "pid", "up", "restarts", "MiB", "CPU s"):
        left = column in ("process", "address", "state", "role")
        lines.add_column(column, justify="left" if left else "right")
    for line in status.processes:
        lines.add_row(
            line.name,
            line.address,
            f"[green]{line.condition}" if line.condition == "ready" else f"[red]{line.condition}",
            line.role,
            str(line.pid or ""),
            _duration(line.uptime_s),
            str(line.restarts or ""),
            f"{line.memory_mib:.0f}",
            f"{line.cpu_s:.1f}",
        )
    lines.add_row(
        "supervisor",
        "",
        "",
        "",
        str(status.supervisor_pid),
        "",
        "",
        f"{status.supervisor_memory_mib:.0f}",
        "",
    )
    lines.add_section()
    total = sum(line.cpu_s for line in status.processes)
    lines.add_row(
        "all", status.edge, status.phase, "", "", "", "", f"{status.memory_mib:.0f}", f"{total:.1f}"
    )
    console.print(lines)
    console.print("[dim]memory is PSS: what processes share is counted once")
    for line in status.processes:
        if line.detail:
            console.print(f"[yellow]{line.name}: {line.detail}", highlight=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
