"""Runs a drill: breaks, waits until its alert fires, mends, and waits until the alert has ended."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from local.commands.status import look
from local.drills.model import Drill, Ground
from local.drills.table import named
from local.stack import state as states
from local.stack.layout import Home, Shape, StackError, write_private
from mesh.config import ConfigError, load
from mesh.environment import PRODUCTION, EnvironmentConfig
from mesh.tasks import end

_LOOK_S: Final = 0.5
# Beside how long an alert's condition must last: what takes time until it is true. A transaction counts as
# long from five minutes on.
_PATIENCE_S: Final = 600.0
_ENDS: Final = (signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """How a drill went. Times in seconds."""

    drill: Drill
    fired_s: float
    """From the break until the alert fired."""
    heard_s: float
    """From the break until Alertmanager had it."""
    resolved_s: float
    """From the mending until the alert had ended."""
    others: tuple[str, ...]
    """What fired besides."""
    silenced: tuple[str, ...]
    """What of that Alertmanager kept silent, since its cause had an alert of its own."""


def ground(home: Home) -> Ground:
    """The running mesh, if drills are allowed on it.

    Raises:
        StackError: production is declared, or the mesh is not up in the shape that drills are for.
    """
    state = states.running(home)
    for declared in (_environment(), state.environment):
        if declared == PRODUCTION:
            raise StackError(
                f"drills break things on purpose: none where MARQUEE_ENVIRONMENT is {PRODUCTION}"
            )
    if state.shape != Shape.PLAIN:
        raise StackError(
            "drills are for the plain shape; how a cluster loses a part, `make test-faults` tests"
        )
    stack = state.stack(home)
    if "prometheus/http" not in stack.ports or "alertmanager/http" not in stack.ports:
        raise StackError("nobody would hear of it: start the mesh with `marquee up --observability`")
    return Ground(home, stack)


async def run(on: Ground, drill: Drill, say: Say, hold_s: float = 0.0) -> Report:
    """Runs a drill; whatever ends it, all is mended.

    `hold_s`: for how many seconds more it stays broken after its alert has fired, so that somebody can follow
    the runbook; less if they have mended it.

    Raises:
        StackError: a part that it needs does not run; another drill runs; the alert fires already, does not
            fire, or does not end.
    """
    _check(on, drill)
    lasts_s = await on.alerts.lasts_s(drill.alert)
    before = await on.alerts.all()
    if drill.alert in before:
        raise StackError(f"{drill.alert} fires already: see {drill.runbook}")
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in _ENDS:
        loop.add_signal_handler(number, task.cancel)
    traffic = asyncio.create_task(drill.traffic(on))
    try:
        async with _broken(on, drill, say) as (began, breaking):
            fired = await _Wait(on, drill, began, (traffic, breaking), lasts_s + _PATIENCE_S).until_it_fires(
                say
            )
            await _hold(on, drill, hold_s, say)
            others, silenced = await _besides(on, drill, before)
        mended = time.monotonic()
        say("mended; waiting until the alert has ended and every part answers")
        await _until_ended(on, drill, traffic)
        resolved_s = time.monotonic() - mended
    finally:
        await end([traffic])
        for number in _ENDS:
            loop.remove_signal_handler(number)
    return Report(drill, *fired, resolved_s, others, silenced)


async def mend_left(home: Home, say: Say) -> bool:
    """Mends what a drill has left that was killed; False if there is nothing.

    Raises:
        StackError: that drill still runs, or the mesh can't be mended.
    """
    record = _read(home)
    if record is None:
        return False
    drill = named(record["drill"])
    if states.is_alive(record["pid"], record["ticks"]):
        raise StackError(f"the drill {record['drill']} runs: end it with Ctrl-C (process {record['pid']})")
    state = states.running(home)
    if drill is not None:
        await drill.mend(Ground(home, state.stack(home), record["notes"]))
    home.drill_file.unlink(missing_ok=True)
    say(f"mended what the drill {record['drill']} had broken")
    return True


@contextlib.asynccontextmanager
async def _broken(on: Ground, drill: Drill, say: Say) -> Any:
    """Broken within the block; yields since when, and the task that goes on breaking it."""
    on.save = lambda notes: _write(on.home, drill, notes)
    on.keep()
    breaking: asyncio.Task[None] | None = None
    try:
        say(f"broken now: {drill.breaks}")
        began = time.monotonic()
        await drill.begin(on)
        breaking = asyncio.create_task(drill.breaking(on))
        yield began, breaking
    finally:
        if breaking is not None:
            await end([breaking])
        await drill.mend(on)
        on.home.drill_file.unlink(missing_ok=True)


@dataclass
class _Wait:
    on: Ground
    drill: Drill
    began: float
    tasks: tuple["asyncio.Task[None]", ...]
    patience_s: float

    async def until_it_fires(self, say: Say) -> tuple[float, float]:
        """Seconds from the break until the alert fires, and until Alertmanager has it."""
        pending = fired = 0.0
        while True:
            now = time.monotonic() - self.began
            found = await self.on.alerts.of(self.drill.alert)
            if found.state and not pending:
                pending = now
                say(f"{now:6.1f} s  {self.drill.alert} is true, and must last before it fires")
            if found.state == "firing" and not fired:
                fired = now
                say(f"{now:6.1f} s  {self.drill.alert} fires")
            if fired and found.heard:
                say(f"{now:6.1f} s  Alertmanager has it; what to do: {self.drill.runbook}")
                return fired, now
            if now > self.patience_s:
                raise StackError(f"{self.drill.alert} did not fire within {self.patience_s:.0f} s")
            _look_at(self.tasks)
            await asyncio.sleep(_LOOK_S)


async def _besides(
    on: Ground, drill: Drill, before: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = await on.alerts.all()
    others = {name: alert for name, alert in found.items() if name != drill.alert and name not in before}
    firing = tuple(name for name, alert in others.items() if alert.state == "firing")
    return firing, tuple(name for name in firing if others[name].heard == "suppressed")


async def _hold(on: Ground, drill: Drill, hold_s: float, say: Say) -> None:
    if hold_s:
        say(f"it stays broken for {hold_s:.0f} s, or until it is mended by the runbook")
    until = time.monotonic() + hold_s
    while time.monotonic() < until:
        if (await on.alerts.of(drill.alert)).state != "firing":
            say("somebody has mended it")
            return
        await asyncio.sleep(_LOOK_S)


async def _until_ended(on: Ground, drill: Drill, traffic: "asyncio.Task[None]") -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        found = await on.alerts.of(drill.alert)
        wrong = drill.alert if found.state or found.heard else ""
        if not wrong and (status := await asyncio.to_thread(look, on.home, states.running(on.home))):
            wrong = ", ".join(line.name for line in status.processes if line.condition != "ready")
        if not wrong:
            return
        if time.monotonic() > until:
            raise StackError(f"this was not well within {_PATIENCE_S:.0f} s of the mending: {wrong}")
        _look_at((traffic,))
        await asyncio.sleep(_LOOK_S)


def _look_at(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Raises what one of them has ended with."""
    for task in tasks:
        if task.done():
            task.result()


def _check(on: Ground, drill: Drill) -> None:
    left = _read(on.home)
    if left is not None:
        raise StackError(
            f"the drill {left['drill']} runs, or was killed: `marquee drill --mend` mends what it broke"
        )
    known = states.running(on.home).processes
    if missing := [name for name in drill.needs if name not in known]:
        raise StackError(f"{drill.name} needs what does not run here: {', '.join(missing)}")


def _environment() -> str:
    try:
        return load(EnvironmentConfig).name
    except ConfigError as error:
        raise StackError(str(error)) from None


def _read(home: Home) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(home.drill_file.read_text())
    except FileNotFoundError:
        return None
    return found


def _write(home: Home, drill: Drill, notes: dict[str, Any]) -> None:
    own = states.own()
    record = {"drill": drill.name, "pid": own.pid, "ticks": own.started_ticks, "notes": notes}
    write_private(home.drill_file, json.dumps(record))
