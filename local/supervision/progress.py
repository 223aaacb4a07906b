"""Waiting for a stack to come up or to go, and what is shown meanwhile."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from local.stack import state as states
from local.stack.layout import Home, StackError

_POLL_S: Final = 0.05
_STOP_TIMEOUT_S: Final = 60.0
_LAST_LINES: Final = 15

_MARKS: Final = {"ready": "[green]✓[/]", "failed": "[red]✗[/]", "waiting": "[dim]·[/]"}

Show = Callable[[states.State], None]


def start(home: Home, words: Sequence[str]) -> states.State:
    """Starts a supervisor that outlives this command, and shows how far its stack is until it is ready.

    Raises:
        StackError: it did not get there.
    """
    with home.log("supervisor").open("ab") as output:
        daemon = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        with display(time.monotonic()) as show:
            return wait(home, daemon, show)
    except KeyboardInterrupt:
        print("stopping")
        stop(home)
        raise


def wait(home: Home, daemon: "subprocess.Popen[bytes]", show: Show = lambda _state: None) -> states.State:
    """Waits until the stack of a supervisor that was just started is ready.

    Raises:
        StackError: it did not get there; the message says why, with the last
            lines of the log of what failed.
    """
    while True:
        ended = daemon.poll()
        state = states.read(home.state_file)
        if state is not None and state.pid == daemon.pid:
            show(state)
            if state.phase == "ready":
                return state
        if ended is not None:
            raise StackError(_explain(home, state if state is not None and state.pid == daemon.pid else None))
        time.sleep(_POLL_S)


def stop(home: Home) -> bool:
    """Stops a stack and waits until it has gone; False if there was none.

    Raises:
        StackError: it did not end in time.
    """
    state = states.read(home.state_file)
    if state is None:
        return False
    if not state.alive:
        from local.supervision.supervisor import clear_away

        clear_away(home, state)
        home.state_file.unlink()
        return False
    began = time.monotonic()
    os.kill(state.pid, signal.SIGTERM)
    while state.alive:
        if time.monotonic() - began > _STOP_TIMEOUT_S:
            raise StackError(
                f"the supervisor, process {state.pid}, did not end within {_STOP_TIMEOUT_S:.0f} s: "
                "run `marquee down` again, and look at what `marquee logs` says"
            )
        time.sleep(_POLL_S)
    return True


@contextlib.contextmanager
def display(began: float) -> Iterator[Show]:
    """Shows a stack that comes up: in a terminal a table that changes, else a line for each step."""
    if not sys.stdout.isatty():
        yield _plain(began)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    with Live(console=Console(), refresh_per_second=10, transient=False) as live:

        def show(state: states.State) -> None:
            table = Table(box=None, pad_edge=False, show_header=False)
            for process in state.processes.values():
                took = f"{process.ready_at - process.started_at:.1f} s" if process.ready_at else ""
                mark = _MARKS.get(process.condition, "[yellow]…[/]")
                table.add_row(mark, process.name, process.condition, took, f"[dim]{process.detail}")
            live.update(table)

        yield show


def _plain(began: float) -> Show:
    shown: dict[str, str] = {}

    def show(state: states.State) -> None:
        for process in state.processes.values():
            now = f"{process.condition} {process.detail}".strip()
            if now != shown.get(process.name, "waiting"):
                shown[process.name] = now
                print(f"{time.monotonic() - began:5.1f} s  {process.name:22} {now}", flush=True)

    return show


def _explain(home: Home, state: states.State | None) -> str:
    """Why a start failed."""
    reason = "the supervisor ended"
    name = "supervisor"
    if state is not None:
        reason = state.reason or reason
        name = next((p.name for p in state.processes.values() if p.condition == "failed"), name)
    path = home.log(name)
    lines = path.read_text(errors="replace").splitlines()[-_LAST_LINES:] if path.exists() else []
    return "\n  ".join([reason, f"the last lines of {path}:", *lines] if lines else [reason])
