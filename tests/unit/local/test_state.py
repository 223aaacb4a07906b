"""The state file tells living from dead, also where a pid was given to somebody else."""

import os
import subprocess
from pathlib import Path

from local.stack import state as states
from local.stack.layout import Home


def test_a_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    state = states.own("ready")
    state.ports = {"redis/redis": 20000}
    state.processes["redis"] = states.ProcessState("redis", "ready", pid=1, started_ticks=2, restarts=3)
    states.write(tmp_path / "state.json", state)
    assert states.read(tmp_path / "state.json") == state


def test_there_is_no_live_stack_without_a_state_file(tmp_path: Path) -> None:
    assert states.live(Home(tmp_path)) is None


def test_this_process_is_alive() -> None:
    assert states.own().alive


def test_a_supervisor_that_has_ended_is_not_alive(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    state = states.State(child.pid, states.start_ticks(child.pid), "ready")
    states.write(tmp_path / "state.json", state)
    assert states.live(Home(tmp_path)) is not None
    child.kill()
    child.wait()
    assert states.live(Home(tmp_path)) is None


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["sleep", "60"])
    ticks = states.start_ticks(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not states.is_alive(child.pid, ticks)
    child.wait()


def test_another_process_with_the_same_pid_is_not_the_supervisor() -> None:
    assert not states.is_alive(os.getpid(), states.start_ticks(os.getpid()) - 1)
