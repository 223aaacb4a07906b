"""Waiting for what a test needs to come true."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    check: Callable[[], Awaitable[T | None]], timeout: float = ..., interval: float = ..., *, what: str = ...
) -> T: ...
@overload
async def eventually(
    check: Callable[[], T | None], timeout: float = ..., interval: float = ..., *, what: str = ...
) -> T: ...
async def eventually(
    check: Callable[[], Any], timeout: float = 60.0, interval: float = 0.02, *, what: str = ""
) -> Any:
    """Waits until `check` returns something true, and returns it. Times are in seconds.

    Raises:
        AssertionError: it did not in time; names `what` was awaited, and what `check` gave last.
    """
    value: Any = "nothing"
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            while True:
                found = check()
                value = await found if inspect.isawaitable(found) else found
                if value:
                    return value
                await asyncio.sleep(interval)
    except TimeoutError:
        if not deadline.expired():
            raise
    raise AssertionError(f"{what or _source(check)} did not come within {timeout:g} s: it gave {value!r}")


def _source(check: Callable[[], object]) -> str:
    try:
        return inspect.getsource(check).strip()
    except (OSError, TypeError):
        return repr(check)
