"""The daemon that owns a stack's processes: starts them by what they need, restarts what dies, stops all.

`marquee up` starts it detached; it tells what it does through the state file and
ends on SIGTERM. Should it be killed, the kernel ends its children too.
"""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from local import cluster
from local.servers import index_server
from local.servers.probes import ask
from local.servers.process import Process
from local.stack import certificates
from local.stack import state as states
from local.stack.child import Child, end_orphan
from local.stack.layout import (
    DEFAULT_EDGE_PORT,
    Home,
    Shape,
    Stack,
    StackError,
    choose_ports,
    keep_ports,
    kept_ports,
)
from local.stack.state import Condition, Phase, ProcessState
from local.supervision import access_log
from local.supervision.processes import port_names, select, table, usual_instances
from mesh.backoff import Backoff

log = logging.getLogger(__name__)

_PROBE_INTERVAL_S: Final = 0.15
_FIRST_BACKOFF_S: Final = 0.5
_MAX_BACKOFF_S: Final = 10.0
_LOG_LIMIT_BYTES: Final = 20 * 1024 * 1024
# One early death may be a race for a port; a second one is a fault.
_EARLY_DEATHS: Final = 2

LOCKED: Final = 3
"""Exit code: another supervisor owns this home."""


class _Unit:
    """One instance of a process."""

    def __init__(self, process: Process, name: str, state: ProcessState) -> None:
        self.process = process
        self.name = name
        self.state = state
        self.child: Child | None = None
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()
        self.hooked = False
        self.epoch = 0
        """How often it has handed over to a successor since it was last started."""


class Supervisor:
    """Runs the processes of one stack."""

    def __init__(self, stack: Stack, processes: Sequence[Process]) -> None:
        self._stack = stack
        self._state = states.own()
        self._state.ports = dict(stack.ports)
        self._state.instances = dict(stack.instances)
        self._state.shape = stack.shape
        self._units: list[_Unit] = []
        for process in processes:
            for name in stack.names(process.name):
                self._state.processes[name] = ProcessState(name)
                self._units.append(_Unit(process, name, self._state.processes[name]))
        self._stop = asyncio.Event()

    async def run(self) -> bool:
        """Runs until SIGTERM or SIGINT; returns whether nothing failed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hand_over_all)
        self._save()
        tasks = [asyncio.create_task(self._keep(unit), name=unit.name) for unit in self._units]
        tasks.append(asyncio.create_task(self._announce()))
        tasks.append(asyncio.create_task(access_log.keep_short(self._stack, access_log.limit())))
        tasks.append(asyncio.create_task(index_server.keep_short(self._stack)))
        await self._stop.wait()
        failed = self._state.phase == "failed"
        if not failed:
            self._phase("stopping")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(unit) for unit in self._units))
        if not failed:
            self._stack.home.state_file.unlink()
        log.info("all stopped")
        return not failed

    async def _announce(self) -> None:
        for unit in self._units:
            await unit.ready.wait()
        self._phase("ready")

    async def _keep(self, unit: _Unit) -> None:
        """Starts a process when what it needs is ready, and again whenever it dies."""
        while True:
            try:
                await self._wait_for_needs(unit)
                await self._prepare(unit)
                await self._run(unit)
            except StackError as error:
                self._fail(unit, str(error))
            except Exception as error:
                log.exception("%s", unit.name)
                self._fail(unit, f"{type(error).__name__}: {error}")
            await asyncio.sleep(_MAX_BACKOFF_S)

    async def _wait_for_needs(self, unit: _Unit) -> None:
        for other in self._units:
            if other.process.name in unit.process.needs:
                await other.ready.wait()

    async def _prepare(self, unit: _Unit) -> None:
        if unit.process.prepare is None:
            return
        self._set(unit, "preparing")
        with self._stack.home.log(unit.name).open("ab") as output:
            await unit.process.prepare(self._stack, unit.name, output)

    async def _run(self, unit: _Unit) -> None:
        backoff = Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S)
        deaths = 0
        while True:
            began = time.monotonic()
            child = self._spawn(unit)
            watcher = asyncio.create_task(self._watch(unit))
            try:
                ending = await child.exited()
                while unit.child is not None and unit.child is not child:
                    # It has ended because it had handed over.
                    child = unit.child
                    ending = await child.exited()
            finally:
                watcher.cancel()
            unit.epoch = 0
            log.warning("%s %s", unit.name, ending)
            deaths += 1
            if not unit.ready.is_set() and deaths >= _EARLY_DEATHS:
                raise StackError(f"it {ending} before it was ready")
            if time.monotonic() - began > _MAX_BACKOFF_S:
                backoff.reset()
            unit.state.restarts += 1
            self._set(unit, "restarting", f"it {ending}")
            await asyncio.sleep(max(backoff.pause_s(), unit.process.restart_after_s))

    def _hand_over_all(self) -> None:
        """On SIGHUP: what can be replaced while it runs starts its successor, which ends it."""
        for unit in self._units:
            if unit.process.successor is not None and unit.ready.is_set():
                unit.epoch += 1
                self._spawn(unit, unit.process.successor(unit.epoch))
                self._set(unit, "ready")

    def _spawn(self, unit: _Unit, more: Sequence[str] = ()) -> Child:
        process = unit.process
        unit.child = Child(
            [*process.command(self._stack, unit.name), *more],
            {**os.environ, **process.environment(self._stack, unit.name)},
            self._stack.home.log(unit.name),
            folder=self._stack.home.root,
            options=[f"--pdeathsig={process.stop_signal.name}", *process.privileges(self._stack)],
        )
        unit.state.pid = unit.child.pid
        unit.state.started_ticks = states.start_ticks(unit.child.pid)
        unit.state.started_at = time.time()
        self._set(unit, "starting", unit.state.detail)
        log.info("%s is process %d", unit.name, unit.child.pid)
        return unit.child

    async def _watch(self, unit: _Unit) -> None:
        """Probes a process that starts until it is ready."""
        patience_s = unit.process.start_timeout_s
        deadline = time.monotonic() + patience_s
        while wrong := await ask(unit.process.probe, self._stack, unit.name):
            if time.monotonic() > deadline:
                wrong = f"it was not ready within {patience_s:.0f} s: {wrong}"
                if not unit.ready.is_set():
                    self._fail(unit, wrong)
                    return
                self._set(unit, "starting", wrong)
                deadline = time.monotonic() + patience_s
            await asyncio.sleep(_PROBE_INTERVAL_S)
        if unit.process.once_ready is not None and unit.name == unit.process.name and not unit.hooked:
            try:
                await unit.process.once_ready(self._stack)
            except Exception as error:
                log.exception("%s", unit.name)
                self._fail(unit, f"{type(error).__name__}: {error}")
                return
            unit.hooked = True
        unit.state.ready_at = time.time()
        self._set(unit, "ready")
        unit.ready.set()

    async def _end(self, unit: _Unit) -> None:
        """Stops a process after all that need it have stopped."""
        for other in self._units:
            if unit.process.name in other.process.needs:
                await other.stopped.wait()
        if unit.child is not None:
            await unit.child.stop(unit.process.stop_signal, unit.process.stop_timeout_s)
        for pid in unit.process.also(self._stack, unit.name):
            await asyncio.to_thread(end_orphan, pid)
        if unit.state.condition != "failed":
            self._set(unit, "stopped")
        unit.stopped.set()

    def _fail(self, unit: _Unit, reason: str) -> None:
        """Gives the whole stack up while it starts; later the process is tried again forever."""
        log.error("%s: %s", unit.name, reason)
        self._set(unit, "failed", reason)
        if self._state.phase == "starting":
            self._phase("failed", f"{unit.name}: {reason}")
            self._stop.set()

    def _set(self, unit: _Unit, condition: Condition, detail: str = "") -> None:
        unit.state.condition = condition
        unit.state.detail = detail
        self._save()

    def _phase(self, phase: Phase, reason: str = "") -> None:
        log.info("%s %s", phase, reason)
        self._state.phase = phase
        self._state.reason = reason
        self._save()

    def _save(self) -> None:
        states.write(self._stack.home.state_file, self._state)


def start(
    home: Home,
    only: Sequence[str],
    instances: dict[str, int],
    edge_port: int,
    shape: Shape = Shape.PLAIN,
    shards: int = 1,
) -> int:
    """Runs a stack in this process; returns its exit code."""
    home.make()
    with contextlib.ExitStack() as held:
        lock = held.enter_context(home.lock_file.open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another supervisor runs the stack in {home.root}", file=sys.stderr)
            return LOCKED
        left = states.read(home.state_file)
        try:
            if left is not None:
                clear_away(home, left)
            processes = select(only, shape, shards)
            instances = {**usual_instances(shape), **instances}
            certificates.ensure(home)
            access_log.limit()
            names = port_names(processes, instances)
            kept = cluster.kept_ports(home) if shape is Shape.CLUSTER else {}
            ports = choose_ports(names, kept_ports(home), {"envoy/edge": edge_port} | kept)
            keep_ports(home, ports)
        except StackError as error:
            failed = states.own("failed")
            failed.reason = str(error)
            states.write(home.state_file, failed)
            return 1
        _shorten_logs(home)
        return 0 if asyncio.run(Supervisor(Stack(home, ports, instances, shape), processes).run()) else 1


def clear_away(home: Home, left: states.State) -> None:
    """Ends what a supervisor that was killed has left behind."""
    known = {process.name: process for process in table(Shape(left.shape))}
    for process in left.processes.values():
        if process.alive:
            log.warning("%s of a stack before this one still runs as %d", process.name, process.pid)
            end_orphan(process.pid)
        kind = known.get(process.name.partition(".")[0])
        for pid in kind.also(left.stack(home), process.name) if kind else ():
            log.warning("what %s started still runs as %d", process.name, pid)
            end_orphan(pid)


def _shorten_logs(home: Home) -> None:
    for path in home.logs.glob("*.log"):
        if path.stat().st_size > _LOG_LIMIT_BYTES and path.name != "supervisor.log":
            path.replace(path.with_suffix(".log.1"))


def arguments(
    home: Home,
    only: Sequence[str],
    instances: dict[str, int],
    edge_port: int,
    shape: Shape = Shape.PLAIN,
    shards: int = 1,
) -> list[str]:
    """The command line that runs `start` with these arguments in a process of its own."""
    words = [
        sys.executable,
        "-m",
        "local.supervision.supervisor",
        f"--home={home.root}",
        f"--edge-port={edge_port}",
    ]
    words += [f"--shape={shape}", f"--shards={shards}", *(f"--only={name}" for name in only)]
    words += [f"--instances={name}={count}" for name, count in instances.items()]
    return words


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.supervision.supervisor", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--only", action="append", default=[], metavar="PROCESS")
    parser.add_argument("--instances", action="append", default=[], metavar="NAME=COUNT")
    parser.add_argument("--shape", type=Shape, default=Shape.PLAIN, choices=list(Shape))
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--edge-port", type=int, default=DEFAULT_EDGE_PORT)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    instances = {name: int(count) for name, _, count in (text.partition("=") for text in given.instances)}
    home = Home(given.home)
    raise SystemExit(start(home, given.only, instances, given.edge_port, given.shape, given.shards))


if __name__ == "__main__":
    main()
