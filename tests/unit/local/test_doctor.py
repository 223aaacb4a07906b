"""`marquee doctor`: it finds what is wrong, and says what to do about it."""

import os
import resource
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from local.commands import doctor
from local.stack import state as states
from local.stack.layout import Home
from tests.support.ports import free_port


def test_a_port_of_another_program_is_named() -> None:
    with socket.socket() as other:
        port = free_port()
        other.bind(("127.0.0.1", port))
        other.listen()
        found = doctor._port(port, ours=False)
        assert f"port {port} is taken" in found.problem
        assert "MARQUEE_EDGE_PORT" in found.problem
        assert doctor._port(port, ours=True).problem == "", "the mesh's own"
    assert doctor._port(port, ours=False).problem == ""


def test_packages_are_held_against_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "grpcio==1.85.1 \\\n    --hash=sha256:00\n    # via mesh\nuvicorn[standard]==1.0\n"
        "colorama==0.4 ; sys_platform == 'win32'\n"
    )
    installed = {"grpcio": "1.85.1", "uvicorn": "1.0"}

    def version(name: str) -> str:
        try:
            return installed[name]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    assert doctor._packages(lock, version).problem == ""
    installed["grpcio"] = "1.70.0"
    assert doctor._packages(lock, version).problem == "grpcio is 1.70.0, not 1.85.1: run `make install`"
    del installed["uvicorn"]
    assert "and 1 more: run `make install`" in doctor._packages(lock, version).problem


def test_what_a_killed_mesh_left_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert doctor._leftovers(home).problem == ""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as left:
        state = states.State(pid=2**22 + 1, started_ticks=1)
        ticks = states.start_ticks(left.pid)
        state.processes["kafka"] = states.ProcessState("kafka", pid=left.pid, started_ticks=ticks)
        states.write(home.state_file, state)
        assert f"kafka (pid {left.pid})" in doctor._leftovers(home).problem
        left.kill()
    assert doctor._leftovers(home).problem == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (doctor._memory(2**29), "0.5 GiB of memory"),
        (doctor._files(256), "ulimit -n"),
    ],
)
def test_what_is_too_little_is_said_with_what_to_do(found: doctor.Finding, words: str) -> None:
    assert words in found.problem


def test_enough_is_enough() -> None:
    assert doctor._memory(2**34).problem == ""
    assert doctor._files(resource.RLIM_INFINITY).problem == ""


def test_a_clock_that_is_behind_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Makefile").touch()
    os.utime(tmp_path / "Makefile", (10 * 86_400, 10 * 86_400))
    assert "5 days behind" in doctor._clock(tmp_path, 5 * 86_400).problem
    assert doctor._clock(tmp_path, 11 * 86_400).problem == ""
