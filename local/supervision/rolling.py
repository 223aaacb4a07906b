"""Restarts of a running stack's processes, one after the other."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from local.stack import state as states
from local.stack.layout import Home, StackError
from local.supervision.processes import CONTROLLER, EDGE, OWN

_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.1


def restart(home: Home, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Restarts processes of Marquee's own by their names, or by that of their kind; all if none is given.

    The next one's turn comes when the one before is ready again, and the edge knows. It looks every 0.2 s:
    if it learnt first that the next one leaves, it would have none.

    Raises:
        StackError: there is none of that name, or one did not become ready again.
    """
    running = states.running(home)
    own = [process.name for process in (*OWN, EDGE, CONTROLLER)]
    instances = [name for name in running.processes if name.partition(".")[0] in own]
    chosen = [name for name in instances if not names or name in names or name.partition(".")[0] in names]
    if unknown := set(names) - {each for name in chosen for each in (name, name.partition(".")[0])}:
        raise StackError(
            f"these are not running: {', '.join(sorted(unknown))}; there are {', '.join(instances)}"
        )
    for name in chosen:
        began = time.monotonic()
        before = states.running(home).processes[name].pid
        if name == EDGE.name:
            # The supervisor starts a successor, which takes the sockets over and ends the one before.
            os.kill(states.running(home).pid, signal.SIGHUP)
        else:
            os.kill(before, signal.SIGTERM)
        _wait(home, name, before)
        say(f"{name} is another process after {time.monotonic() - began:.1f} s")


def _wait(home: Home, name: str, before: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        process = states.running(home).processes[name]
        replaced = process.pid != before and process.condition == "ready" and process.alive
        if replaced and not os.path.exists(f"/proc/{before}") and _has_calls(home, name):
            return
        time.sleep(_LOOK_S)
    raise StackError(f"{name} was not ready again within {_PATIENCE_S:.0f} s: see `marquee logs {name}`")


def _has_calls(home: Home, name: str) -> bool:
    """Whether the edge sends calls to this instance, or sends none to its kind."""
    from edge.status import instances

    stack = states.running_stack(home)
    if f"{EDGE.name}/admin" not in stack.ports or f"{name}/grpc" not in stack.ports:
        return True
    address = stack.address(name, "grpc")
    try:
        known = instances(f"http://{stack.address(EDGE.name, 'admin')}")
    except OSError:
        return False
    return all(each.state == "healthy" for each in known if each.address == address)
