"""A process that holds something and can be frozen: `python -m tests.support.holder SQL…`

It opens a transaction by `mesh.postgres` from its environment, as the services do, runs the statements,
says so, and then holds on until its input ends; at last it commits, and says how that ended.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mesh import postgres
from mesh.config import load
from mesh.errors import MarqueeError


@contextmanager
def holding(environment: Mapping[str, str], *statements: str) -> Iterator["subprocess.Popen[str]"]:
    """That process, once it holds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.holder", *statements],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def _hold(statements: list[str]) -> None:
    pg = await postgres.connect(load(postgres.PostgresConfig))
    try:
        async with pg.write() as connection:
            for statement in statements:
                await connection.execute(statement)
            print("holds", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
        print("committed", flush=True)
    except MarqueeError as error:
        print(error.reason, flush=True)


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1:]))
