"""What processes use, from /proc: memory and CPU time, their own children included.

Memory is PSS, proportional set size: of a page that several processes share,
each gets its share. RSS would count PostgreSQL's shared buffers once a session.
See https://docs.kernel.org/filesystems/proc.html (smaps_rollup, stat).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Of one process with all its descendants."""

    memory_bytes: int
    """PSS; 0 where the kernel doesn't let us see it."""
    cpu_s: float
    """User and system time, in seconds, with that of children that have ended."""


def measure(pids: Iterable[int]) -> dict[int, Usage]:
    """What each of these processes, with its descendants, uses now."""
    children = _children()
    return {pid: _sum(pid, children) for pid in pids}


def tree(pid: int) -> list[int]:
    """A process and all its descendants now; none if it is gone."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(found for child in children for found in tree(int(child)))]


def own(pid: int) -> Usage:
    """What one process alone uses, without its children."""
    return Usage(_pss(pid), cpu_s(pid))


def cpu_s(pid: int) -> float:
    """CPU time of one process and of its children that have ended, in seconds; 0 if it is gone."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICKS_PER_S if fields else 0.0


def _sum(pid: int, children: dict[int, list[int]]) -> Usage:
    memory, cpu = _pss(pid), cpu_s(pid)
    for child in children.get(pid, ()):
        below = _sum(child, children)
        memory += below.memory_bytes
        cpu += below.cpu_s
    return Usage(memory, cpu)


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return 0
