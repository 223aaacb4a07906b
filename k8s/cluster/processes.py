"""Programs that go on after this process: started with a log and a pid file, awaited, stopped by that pid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.1


class ClusterError(RuntimeError):
    """The cluster can't be what was asked for; the message says why and where to look."""


class Processes:
    """The running programs of one cluster, by name, in a folder of pid files and logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._folder / f"{name}.log"

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Starts a program unless it runs."""
        if self.running(name):
            return
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        # With its start time, so that a later process of the same number is never taken for it.
        self._file(name).write_text(f"{process.pid} {_started(process.pid)}")

    def run(self, command: Sequence[str], timeout_s: float) -> str:
        """Runs a command to its end; returns what it prints.

        Raises:
            ClusterError: it failed, or took longer than `timeout_s`; with its own words.
        """
        words = " ".join(command)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{words}: no end in {timeout_s:.0f} s") from None
        if done.returncode:
            raise ClusterError(f"{words}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def running(self, name: str) -> int | None:
        """The pid of a program that runs."""
        try:
            pid, started = self._file(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started else None

    def names(self) -> list[str]:
        """What was started, in that order, and not stopped."""
        files = sorted(self._folder.glob("*.pid"), key=lambda path: path.stat().st_mtime_ns)
        return [path.stem for path in files]

    def stop(self, name: str, timeout_s: float = 15.0) -> None:
        """Asks a program to end, and ends it after `timeout_s`."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.running(name)
            if pid is None:
                break
            os.kill(pid, number)
            deadline = time.monotonic() + timeout_s
            while self.running(name) is not None and time.monotonic() < deadline:
                _reap(pid)
                time.sleep(_POLL_S)
        self._file(name).unlink(missing_ok=True)

    def await_true(self, name: str, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Waits until `condition` holds.

        Raises:
            ClusterError: it does not within `timeout_s`, or the program has ended; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = self.running(name) is None
            if ended or time.monotonic() > deadline:
                why = "has ended" if ended else f"did not become so within {timeout_s:.0f} s"
                tail = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-15:])
                raise ClusterError(f"waiting for {what}: {name} {why}; {self.log(name)} ends with\n{tail}")
            time.sleep(_POLL_S)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"


def _started(pid: int) -> str:
    """When a process was started, in ticks since the machine's own start; empty if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _reap(pid: int) -> None:
    """Collects an ended child; a process that is not ours is nothing to collect."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
