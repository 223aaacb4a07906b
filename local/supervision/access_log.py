"""Keeps the edge's access log short while it is written: no line is lost, and one older file is kept."""

import asyncio
import logging
import os
import urllib.request
from typing import Final

from local.stack.layout import Stack, StackError

log = logging.getLogger(__name__)

LIMIT_VARIABLE: Final = "MARQUEE_ACCESS_LOG_BYTES"

_DEFAULT_BYTES: Final = 64 * 1024 * 1024
_LOOK_S: Final = 10.0
_TIMEOUT_S: Final = 5.0


def limit() -> int:
    """How large the log may become, in bytes; with the file before it, twice that is on the disk.

    Raises:
        StackError: the variable holds no such number.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(_DEFAULT_BYTES)
    if not text.isdigit() or int(text) < 1:
        raise StackError(f"{LIMIT_VARIABLE} can't be {text!r}: it is a number of bytes")
    return int(text)


async def keep_short(stack: Stack, most: int) -> None:
    """Looks after it forever."""
    while "envoy/admin" in stack.ports:
        try:
            await asyncio.to_thread(rotate, stack, most)
        except OSError as error:
            log.warning("the access log can't be begun again now: %s", error)
        await asyncio.sleep(_LOOK_S)


def rotate(stack: Stack, most: int) -> bool:
    """Begins the log again where it has become too large; returns whether it did.

    Envoy writes to the file that it has open until it is told to open it again.

    Raises:
        OSError: the edge does not answer. It goes on with the file that it has, which is the older one now.
    """
    path = stack.home.log("access")
    if not path.exists() or path.stat().st_size <= most:
        return False
    path.replace(path.with_suffix(".log.1"))
    path.touch()
    request = urllib.request.Request(f"http://{stack.address('envoy', 'admin')}/reopen_logs", method="POST")
    urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()  # noqa: S310 - of this machine
    return True
