"""The one clock by which processes compare times: that of PostgreSQL's primary.

Each process hears it with every measurement of lag (`mesh.lag`) and goes on by
its own monotonic clock in between; how wrong its own wall clock is does not
matter. Before it has heard it for the first time, its own clock is all it has.

What is only compared within a process uses the monotonic clock, what Redis
compares uses Redis' (`TIME`, expiry), what SQL compares `now()`. A unit test
looks for uses of other clocks.
"""

import math
import time
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import Gauge

SKEW: Final = Gauge(
    "marquee_clock_skew_seconds",
    "How far this machine's clock is ahead of PostgreSQL's, in seconds; NaN before that is known. "
    "Nothing depends on it; over a second: look after the machine's NTP, for logs' and traces' sake.",
)
SKEW.set(math.nan)

# Who was stopped between question and answer learns nothing.
_LONGEST_S: Final = 1.0


class _Clock:
    """The store's time minus the monotonic clock's, in seconds; None before it is known."""

    offset: float | None = None


def now() -> float:
    """Seconds since 1970."""
    offset = _Clock.offset
    return time.time() if offset is None else offset + time.monotonic()


def now_us() -> int:
    """Microseconds since 1970."""
    return int(now() * 1_000_000)


def machine_ns() -> int:
    """Nanoseconds since 1970 by this machine's own clock: for spans, whose library reads that one too."""
    return time.time_ns()


def utc_now() -> datetime:
    """The time, as a datetime of UTC."""
    return datetime.fromtimestamp(now(), UTC)


def timestamp(micros: int) -> Timestamp:
    """Microseconds since 1970, as protobuf has times."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def learn(store_s: float, asked: float, answered: float) -> None:
    """Takes note of the store's time, which was asked for and answered at these monotonic times."""
    if answered - asked > _LONGEST_S:
        return
    offset = store_s - (asked + answered) / 2
    known = _Clock.offset
    # Within what the way there and back leaves open, what is known may be the better one.
    if known is None or abs(offset - known) > (answered - asked) / 2:
        _Clock.offset = offset
    SKEW.set(time.time() - now())
