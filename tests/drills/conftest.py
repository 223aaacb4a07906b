"""One mesh with its observers for all drills, where a condition must last a second before its alert fires."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.commands.status import look
from local.stack import state as states
from local.stack.layout import Home, Stack
from tests.support import hearing
from tests.support.hearing import Heard
from tests.support.waiting import eventually


@dataclass
class Mesh:
    stack: Stack
    heard: Heard

    @contextlib.asynccontextmanager
    async def drilling(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """`marquee drill`, as a user would type it; ended with the block."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local", "drill", *words),
            env={**os.environ, "MARQUEE_HOME": str(self.stack.home.root), "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                await process.wait()

    async def hears(self, alert: str, status: str, process: asyncio.subprocess.Process | None = None) -> None:
        async def heard() -> bool:
            if process is not None and process.returncode is not None:
                raise AssertionError((await process.stdout.read()).decode())
            return (alert, status) in self.heard.alerts

        await eventually(heard, 700, 0.2, what=f"{alert} {status}")

    async def well(self) -> bool:
        state = states.running(self.stack.home)
        return (await asyncio.to_thread(look, self.stack.home, state)).healthy


@pytest.fixture(scope="session")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with hearing.watched(Home(Path(tmp_path_factory.mktemp("drills"))), "2s") as (stack, heard):
        yield Mesh(stack, heard)
