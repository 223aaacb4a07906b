"""Looks at this machine, and says in sentences what would keep the mesh from running well."""

import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

from edge import envoy_module, page_build
from local.servers import kafka_jars
from local.stack import state as states
from local.stack.layout import Home, StackError, checkout, is_free

# `marquee status` said 920 MiB for the plain mesh under load; the rest is for the kernel's own caches.
_MEMORY_BYTES: Final = 3 * 2**29
_DISK_BYTES: Final = 2 * 2**30
_FILES: Final = 4096
_PYTHON: Final = (3, 11)
_DAY_S: Final = 86_400
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)(.*)$")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    problem: str = ""
    """A sentence, with what to do; empty if all is well."""


def look(home: Home, edge_port: int) -> Iterator[Finding]:
    """Looks at one thing after the other.

    Args:
        home: the stack's folder.
        edge_port: where the edge would listen; 0: anywhere.
    """
    yield _python()
    yield _packages(checkout() / "requirements.lock", metadata.version)
    yield from _built()
    running = states.live(home)
    yield _port(edge_port, ours=running is not None)
    yield _leftovers(home)
    if running is None:
        yield _memory(psutil.virtual_memory().available)
    yield _disk(home)
    yield _files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield _clock(checkout(), time.time())


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _PYTHON:
        return Finding(f"Python {version}")
    return Finding(
        "Python", f"Python {version} is too old: make .venv with 3.11 or newer, `make install PYTHON=…`"
    )


def _packages(lock: Path, installed: Callable[[str], str]) -> Finding:
    """Whether what is installed is what the lock file says."""
    wrong = []
    for line in lock.read_text().splitlines():
        locked = _LOCKED.match(line)
        if locked is None:
            continue
        name, version, rest = locked.groups()
        try:
            found = installed(name)
        except metadata.PackageNotFoundError:
            # Some are for other machines only.
            if ";" not in rest:
                wrong.append(f"{name} is missing")
            continue
        if found != version and ";" not in rest:
            wrong.append(f"{name} is {found}, not {version}")
    if not wrong:
        return Finding("the packages of requirements.lock")
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return Finding("packages", f"{wrong[0]}{more}: run `make install`")


def _built() -> Iterator[Finding]:
    try:
        envoy_module.library()
        yield Finding("the edge's own filters are compiled")
    except FileNotFoundError:
        yield Finding("the edge's filters", "the edge's own filters are not compiled: run `make install`")
    if page_build.folder() is None:
        yield Finding(
            "the page",
            "the page at / is not bundled, only the API works: run `make install` with npm reachable",
        )
    else:
        yield Finding("the page at / is bundled")
    try:
        kafka_jars.class_path()
        yield Finding("Kafka's jars are there")
    except StackError as error:
        yield Finding("Kafka", str(error))


def _port(port: int, *, ours: bool) -> Finding:
    if ours or not port or is_free(port):
        return Finding(f"port {port} for the edge" if port else "any port for the edge")
    return Finding(
        "port", f"port {port} is taken by another program: end it, or set MARQUEE_EDGE_PORT to another one"
    )


def _leftovers(home: Home) -> Finding:
    """Processes of a supervisor that is gone."""
    state = states.read(home.state_file)
    if state is None or state.alive:
        return Finding("no leftovers of an earlier mesh")
    left = [f"{each.name} (pid {each.pid})" for each in state.processes.values() if each.alive]
    if not left:
        return Finding("no leftovers of an earlier mesh")
    names = ", ".join(left)
    return Finding(
        "leftovers", f"an earlier mesh was killed, and left {names}: `marquee up` ends them before it starts"
    )


def _memory(available: int) -> Finding:
    if available >= _MEMORY_BYTES:
        return Finding(f"{available / 2**30:.1f} GiB of memory are free")
    return Finding(
        "memory",
        f"only {available / 2**30:.1f} GiB of memory are free, and the mesh wants "
        f"{_MEMORY_BYTES / 2**30:.1f}: end other programs, or start a part with `marquee up --only NAME`",
    )


def _disk(home: Home) -> Finding:
    folder = next(each for each in (home.root, *home.root.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    if free >= _DISK_BYTES:
        return Finding(f"{free / 2**30:.0f} GiB of disk are free")
    return Finding(
        "disk",
        f"only {free / 2**30:.1f} GiB of disk are free at {folder}: make room there, "
        "or set MARQUEE_HOME to a folder on another disk",
    )


def _files(limit: int) -> Finding:
    if limit >= _FILES or limit == resource.RLIM_INFINITY:
        return Finding("enough open files are allowed")
    return Finding(
        "open files", f"a process may open {limit} files only, and Kafka needs more: `ulimit -n {_FILES}`"
    )


def _clock(root: Path, now: float) -> Finding:
    """A clock that is behind makes tokens that are not valid yet, and certificates too."""
    newest = max(each.stat().st_mtime for each in root.glob("*") if each.is_file())
    if newest - now < _DAY_S:
        return Finding("the clock is not behind")
    days = (newest - now) / _DAY_S
    return Finding(
        "clock", f"the clock is {days:.0f} days behind the files of this checkout: set it, such as by NTP"
    )
