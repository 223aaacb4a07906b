"""How often OMDb may be asked: a rate and a daily number, which all replicas share.

PostgreSQL counts (`movie_svc.omdb.calls`): the count must survive whatever else is
lost, and a call to OMDb takes far longer than a statement. For while the primary
is away, each replica holds some of the day's calls in reserve. They are counted
when they are set aside, so that any number of replicas together never make more
calls than the day has; what is left of them is returned at the end. It is set
aside before anybody asks: a replica that has asked OMDb nothing yet goes on too.
"""

import asyncio
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from aiolimiter import AsyncLimiter

from mesh import clock
from mesh.errors import MarqueeError
from mesh.pause import Pause
from movie_svc import metrics
from movie_svc.config import OmdbConfig
from movie_svc.omdb.calls import SetAside, Verdict

log = logging.getLogger(__name__)

# What of the day a replica holds in reserve, and what of the rate it goes on with then.
_RESERVE: Final = 0.01
_ALONE: Final = 0.25
# How often it looks whether its reserve is whole. Not at once: a process that dies again and again as it
# starts would take one each time.
_LOOK_S: Final = 5.0
# The primary is only waited for that long, and then left alone for a while: OMDb's caller has a deadline.
_PATIENCE_S: Final = 1.0
_PAUSE_S: Final = 2.0


class Purpose(StrEnum):
    """What OMDb is asked for: the less urgent, the sooner it stops."""

    READ = "i"
    LOOKUP = "t"
    SEARCH = "s"
    PLOT = "plot"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call may not go."""

    day_used: bool
    """The day's calls are used up; else it is only too fast, or nobody can count it now."""
    retry_after: float
    """Seconds."""


class Ledger(Protocol):
    """Who counts for all replicas: `movie_svc.omdb.calls.Calls`."""

    async def take(self, rate: float, burst: int, ceiling: int, reserve: int, spare: int) -> Verdict: ...

    async def set_aside(self, count: int, spare: int) -> SetAside: ...

    async def give_back(self, count: int, day: int) -> None: ...


class Quota:
    """Counts the calls of all replicas."""

    def __init__(self, ledger: Ledger, config: OmdbConfig) -> None:
        self._config = config
        metrics.QUOTA_LIMIT.set(config.daily_limit)
        self._ledger = ledger
        self._reserve = 0
        self._reserve_day = 0
        self._alone_limiter = AsyncLimiter(max(1, config.rate_per_s * _ALONE), 1)
        self._alone = Pause("the count of OMDb's calls", _PAUSE_S, "this replica goes on by its reserve")
        self._asking: set[asyncio.Task[Verdict]] = set()

    def ceiling(self, purpose: Purpose) -> int:
        """How many of the day's calls may be used before this purpose has to stop."""
        share = {Purpose.SEARCH: self._config.search_share, Purpose.PLOT: self._config.search_share}.get(
            purpose, self._config.refresh_share if purpose is Purpose.REFRESH else 1.0
        )
        return int(self._config.daily_limit * share)

    async def take(self, purpose: Purpose) -> Refusal | None:
        """Counts one call; None if it may go."""
        if self._alone.on:
            return await self._take_alone(purpose)
        asked = asyncio.get_running_loop().create_task(
            self._ledger.take(
                self._config.rate_per_s,
                self._config.burst,
                self.ceiling(purpose),
                self._missing(),
                self.ceiling(Purpose.REFRESH),
            )
        )
        # Not cancelled when it takes too long: what it grants at last is not lost.
        self._asking.add(asked)
        asked.add_done_callback(self._asking.discard)
        await asyncio.wait((asked,), timeout=_PATIENCE_S)
        if not asked.done():
            asked.add_done_callback(self._came_late)
            return await self._go_on_alone(purpose, "it takes too long")
        try:
            verdict = asked.result()
        except MarqueeError as error:
            return await self._go_on_alone(purpose, error.message)
        self._take_note(verdict)
        metrics.QUOTA_LOCAL.set(0)
        return None if verdict.granted else Refusal(verdict.day_used, verdict.retry_after)

    async def keep_reserve(self) -> None:
        """Sets calls aside for while nobody can count them, forever.

        Again whenever some were used, or a day begins.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._alone.on or not (missing := self._missing()):
                continue
            try:
                self._take_note(await self._ledger.set_aside(missing, self.ceiling(Purpose.REFRESH)))
            except MarqueeError as error:
                log.info("no calls to OMDb are set aside: %s", error)

    async def close(self) -> None:
        """Returns what was held in reserve."""
        if left := self._left():
            self._hold(0)
            try:
                async with asyncio.timeout(1):
                    await self._ledger.give_back(left, self._reserve_day)
            except (MarqueeError, TimeoutError) as error:
                log.info("%d calls to OMDb are lost for today: %s", left, error)

    def _missing(self) -> int:
        """How many calls the reserve lacks."""
        return max(0, int(self._config.daily_limit * _RESERVE) - self._left())

    def _left(self) -> int:
        """What is held in reserve; nothing of another day is."""
        return self._reserve if clock.utc_now().toordinal() == self._reserve_day else 0

    def _take_note(self, counted: SetAside) -> None:
        held = self._reserve if counted.day == self._reserve_day else 0
        self._reserve_day = counted.day
        self._hold(held + counted.extra)
        metrics.QUOTA_USED.set(counted.used)

    def _came_late(self, asked: "asyncio.Task[Verdict]") -> None:
        if asked.cancelled() or asked.exception() is not None:
            return
        self._take_note(asked.result())
        self._hold(self._reserve + asked.result().granted)

    async def _go_on_alone(self, purpose: Purpose, reason: str) -> Refusal | None:
        self._alone.begin(f"{reason}; {self._left()} calls in reserve")
        metrics.QUOTA_LOCAL.set(1)
        return await self._take_alone(purpose)

    async def _take_alone(self, purpose: Purpose) -> Refusal | None:
        # Refreshes can wait until all can be counted.
        if self._left() < 1 or purpose is Purpose.REFRESH:
            return Refusal(False, _PAUSE_S)
        if not self._alone_limiter.has_capacity():
            return Refusal(False, 1 / self._alone_limiter.max_rate)
        await self._alone_limiter.acquire()
        if self._left() < 1:
            return Refusal(False, _PAUSE_S)
        self._hold(self._reserve - 1)
        return None

    def _hold(self, calls: int) -> None:
        self._reserve = calls
        metrics.QUOTA_RESERVE.set(calls)
