"""Ending tasks surely, and errors that nobody waits for."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_S: Final = 0.2


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels tasks and waits until they have ended, whatever with.

    Cancels again what goes on: before Python 3.12, `asyncio.wait_for` drops a
    cancellation that comes at the moment at which what it waits for is done
    (https://github.com/python/cpython/issues/86296), and redis-py sends each command
    through it. A loop that is cancelled once may then run forever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


def retrieved(done: "asyncio.Future[Any]") -> None:
    """Says that a future's error was seen; for `add_done_callback`, where nobody may wait for it any more.

    Without it asyncio reports the error as one that was never retrieved.
    """
    if not done.cancelled():
        done.exception()
