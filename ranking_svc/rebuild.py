"""The job that measures C again and puts the next generation in force. One process at a time does it.

Of two releases with different settings, the newer one's counts: the one whose
first process came later, among those of which a process is alive. A restart of
an older one changes nothing, and once the newer ones are gone the older counts.
"""

import asyncio
import logging
import time
from typing import Final

import grpc

from mesh import clock
from mesh.errors import MarqueeError
from ranking_svc import metrics
from ranking_svc.chart import Chart
from ranking_svc.config import FormulaConfig
from ranking_svc.feed import Feed
from ranking_svc.formula import Formula
from ranking_svc.nudges import Nudges
from ranking_svc.store import Store
from ranking_svc.store_formula import FormulaState

log = logging.getLogger(__name__)

# After so many looks without one, a process and its settings count as gone.
_LEASE_LOOKS: Final = 6


class Rebuilder:
    """Puts a new generation of the formula in force; every server then sorts its charts again."""

    def __init__(self, store: Store, feed: Feed, nudges: Nudges, config: FormulaConfig) -> None:
        self._store = store
        self._feed = feed
        self._nudges = nudges
        self._config = config
        self._lease_s = _LEASE_LOOKS * config.rebuild_check_s

    async def rebuild(self) -> tuple[Chart, float]:
        """Measures C and compares this server's charts; returns them, and how long it took, in seconds.

        Raises:
            MarqueeError: ABORTED `REBUILD_UNDER_WAY` if another process is doing so,
                UNAVAILABLE if the database is away.
        """
        started = time.perf_counter()
        if await self._measure() is None:
            raise MarqueeError(
                grpc.StatusCode.ABORTED,
                "REBUILD_UNDER_WAY",
                "another server rebuilds the charts just now; try again",
                retry_after=2,
            )
        await self._nudges.send()
        return await self._feed.reload(), time.perf_counter() - started

    async def run(self) -> None:
        """Rebuilds whenever it is due, forever."""
        while True:
            try:
                await self.look()
            except MarqueeError as error:
                log.warning("no rebuild now: %s", error)
            await asyncio.sleep(self._config.rebuild_check_s)

    async def look(self) -> None:
        """Says that a process with this m is alive, and rebuilds if it is due."""
        newest = await self._store.declare(self._config.prior_votes, self._lease_s)
        state = await self._store.formula(fresh=True)
        await self._tell(state)
        if not self._due(state, newest):
            return
        # Others may have found it due at the same moment: the first one's generation stands.
        if await self._measure(state.formula.generation if state else 0) is not None:
            await self._nudges.send()

    async def _tell(self, state: FormulaState | None) -> None:
        metrics.LAST_REBUILD.set(clock.now() - state.age_s if state else 0)
        verification = await self._store.last_verification()
        if verification is not None:
            metrics.LAST_VERIFY.set(verification.finished_at)
            metrics.VERIFY_LEFT.set(verification.left)

    async def _measure(self, seen: int | None = None) -> Formula | None:
        return await self._store.measure(self._config.prior_votes, self._lease_s, seen)

    def _due(self, state: FormulaState | None, newest: float) -> bool:
        if state is None or state.formula.prior_votes != newest:
            return True
        return self._has_grown(state) or state.age_s >= self._config.rebuild_interval_s

    def _has_grown(self, state: FormulaState) -> bool:
        # A server that is behind would take for growth what has been measured already, at each look.
        if self._feed.chart.formula.generation < state.formula.generation:
            return False
        return abs(self._feed.chart.votes - state.votes) > self._config.rebuild_growth * state.votes
