"""A child process that dies with its parent and can be waited for from asyncio."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_ORPHAN_GRACE_S: Final = 15.0


class Child:
    """A running child. Made by starting it."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        *,
        folder: Path,
        options: Sequence[str],
    ) -> None:
        """Starts `command` through setpriv with `options`; its output is appended to the file `output`."""
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                ["setpriv", *options, "--", *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                # Out of the terminal's group: Ctrl-C is for the supervisor, which stops them in order.
                start_new_session=True,
            )
        self.pid = self._process.pid
        loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[str] = loop.create_future()
        self._pidfd = os.pidfd_open(self.pid)
        loop.add_reader(self._pidfd, self._reap)

    async def exited(self) -> str:
        """Waits for its end; returns how that came, as in "exited with code 1"."""
        return await asyncio.shield(self._exited)

    async def stop(self, number: signal.Signals, timeout_s: float) -> None:
        """Sends the signal, waits, and after `timeout_s` kills it."""
        for current in (number, signal.SIGKILL):
            if self._exited.done():
                return
            self._process.send_signal(current)
            try:
                await asyncio.wait_for(self.exited(), timeout_s)
            except TimeoutError:
                continue

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        ending = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        if not self._exited.done():
            self._exited.set_result(ending)


async def run_tool(
    command: Sequence[str],
    log: IO[bytes],
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs a program to its end, through setpriv with `options`; returns its exit code.

    It ends with this process, and with the task that waits for it. `environment` is added to this
    process's own.
    """
    process = await asyncio.create_subprocess_exec(
        "setpriv",
        "--pdeathsig=SIGTERM",
        *options,
        "--",
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, **(environment or {})},
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def end_orphan(pid: int) -> None:
    """Ends a process that is not our child: asks it, then kills it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGINT)
        deadline = time.monotonic() + _ORPHAN_GRACE_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
