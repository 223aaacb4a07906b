"""Sets the wall clock wrong by MARQUEE_TEST_SKEW_S seconds; on PYTHONPATH of a process under test.

Only for Marquee's own code: grpcio compares Python's clock with that of its C part, which stays right.
"""

import datetime
import os
import sys
import time

_SKEW_S = float(os.environ["MARQUEE_TEST_SKEW_S"])
_time, _time_ns = time.time, time.time_ns


def _skew() -> float:
    caller = sys._getframe(2).f_globals
    # grpcio's C part leaves no frame: where it asks, the caller is one of ours that has no `time` itself.
    package = str(caller.get("__name__", "")).partition(".")[0]
    own = package == "mesh" or package.endswith("_svc")
    return _SKEW_S if own and caller.get("time") is time else 0.0


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "_Datetime":
        return cls.fromtimestamp(_time() + _SKEW_S, tz)


def _skewed_time() -> float:
    return _time() + _skew()


def _skewed_time_ns() -> int:
    return _time_ns() + int(_skew() * 1e9)


time.time, time.time_ns = _skewed_time, _skewed_time_ns
datetime.datetime = _Datetime  # type: ignore[misc]
