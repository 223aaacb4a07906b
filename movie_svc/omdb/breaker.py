"""A circuit breaker: what fails too often is left alone for a while, then probed by one call.

Own code because of the libraries, aiobreaker has had no release since 2021 and
purgatory counts failures in a row only and lets any number of probes through.
"""

import random
import time
from collections import deque
from collections.abc import Callable

from movie_svc import metrics
from movie_svc.config import OmdbConfig

_CLOSED, _HALF_OPEN, _OPEN = 0, 1, 2


class Breaker:
    """Closed, it counts; open, it refuses; after a pause it lets one call at a time through as a probe.

    Each time that a probe fails the pause doubles, up to the configured
    maximum; a success closes the breaker.
    """

    def __init__(self, config: OmdbConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._results: deque[tuple[float, bool]] = deque()
        self._open_until: float | None = None
        self._opened = 0
        self._probing_since: float | None = None
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now."""
        return self.wait_s() > 0

    def wait_s(self) -> float:
        """After how many seconds the next call may go; 0 if at once."""
        if self._open_until is None:
            return 0.0
        if self._probing_since is not None:
            # The probe's end decides; should it never report, another may go when its deadline is over.
            return max(0.05, self._probing_since + self._config.deadline_s - self._clock())
        return max(0.0, self._open_until - self._clock())

    @property
    def state(self) -> str:
        """For people: closed, half open or open, and why."""
        if self._open_until is None:
            return "breaker closed"
        if self._probing_since is not None:
            return f"breaker half open: one call probes; it had opened because of: {self.reason}"
        if wait := self.wait_s():
            return f"breaker open: not asked for {wait:.0f} s because of: {self.reason}"
        return f"breaker half open: the next call probes; it had opened because of: {self.reason}"

    def admit(self) -> bool:
        """Whether a call may go. One that does must end in `success`, `failure`, `trip` or `neither`."""
        if self._open_until is None:
            return True
        now = self._clock()
        probing = self._probing_since is not None and now < self._probing_since + self._config.deadline_s
        if now < self._open_until or probing:
            return False
        self._probing_since = now
        metrics.BREAKER.set(_HALF_OPEN)
        return True

    def success(self) -> None:
        self._record(True)
        if self._open_until is not None:
            self._open_until = self._probing_since = None
            self._opened = 0
            self.reason = ""
            self._results.clear()
            metrics.BREAKER.set(_CLOSED)

    def failure(self, reason: str) -> None:
        """Counts a failure; opens if too many of the calls in the window failed, or a probe did."""
        self._record(False)
        failures = sum(not good for _, good in self._results)
        enough = len(self._results) >= self._config.breaker_calls
        if self._open_until is not None or (
            enough and failures >= self._config.breaker_failures * len(self._results)
        ):
            self.trip(reason, self._config.breaker_pause_s, longest_s=self._config.breaker_max_pause_s)

    def trip(self, reason: str, pause_s: float, *, longest_s: float) -> None:
        """Opens at once: for `pause_s`, twice that each time that a probe fails, up to `longest_s`."""
        pause = min(pause_s * 2**self._opened, longest_s) * random.uniform(0.8, 1.2)  # noqa: S311
        self._opened = min(self._opened + 1, 16)
        self._open_until = self._clock() + pause
        self._probing_since = None
        self.reason = reason
        metrics.BREAKER.set(_OPEN)

    def neither(self) -> None:
        """The call did not come about: it says nothing."""
        if self._probing_since is not None:
            self._probing_since = None
            metrics.BREAKER.set(_OPEN)

    def _record(self, good: bool) -> None:
        now = self._clock()
        self._results.append((now, good))
        while self._results and self._results[0][0] < now - self._config.breaker_window_s:
            self._results.popleft()
