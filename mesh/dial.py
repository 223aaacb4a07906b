"""Connecting to PostgreSQL by whichever of several hosts answers.

A DSN may name several hosts, all of them ways to the same server (proxies that
know who the primary is). asyncpg tries them in turn under one time-out, so one
that hangs takes all of it, every time. Here each host has its share, and one that
did not answer is tried last for a while.
"""

import time
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

_TIMEOUT_S: Final = 5.0
_SUSPECT_S: Final = 10.0

_suspected: dict[str, float] = {}
"""Until when a host counts as away, on the monotonic clock; there are as many as DSNs name."""


async def connect(
    dsn: str, *, timeout: float = _TIMEOUT_S, **options: Any
) -> "asyncpg.Connection[asyncpg.Record]":
    """Connects to the first host that answers, within `timeout` seconds in all. Else as `asyncpg.connect`.

    Raises:
        OSError, TimeoutError, asyncpg.PostgresError: what the last host that was tried failed with.
    """
    choices = hosts(dsn)
    now = time.monotonic()
    choices.sort(key=lambda each: _suspected.get(each, 0.0) > now)
    for number, each in enumerate(choices, start=1):
        try:
            found: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
                each, timeout=timeout / len(choices), **options
            )
        except (OSError, TimeoutError):
            _suspected[each] = time.monotonic() + _SUSPECT_S
            if number == len(choices):
                raise
        else:
            _suspected.pop(each, None)
            return found
    raise AssertionError("a DSN names a host")


def hosts(dsn: str) -> list[str]:
    """The same DSN for each host that it names."""
    parts = urlsplit(dsn)
    user, at, addresses = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{each}")) for each in addresses.split(",")]
