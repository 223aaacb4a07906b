"""The job that measures C anew and has the charts rebuilt. One process at a time does it."""

import asyncio
import logging
import time

import grpc

from mesh.errors import MarqueeError
from ranking_svc.chart import Chart
from ranking_svc.config import FormulaConfig
from ranking_svc.feed import Feed
from ranking_svc.nudges import Nudges
from ranking_svc.store import FormulaState, Store

log = logging.getLogger(__name__)


class Rebuilder:
    """Puts a new generation of the formula in force; every server then loads its charts anew."""

    def __init__(self, store: Store, feed: Feed, nudges: Nudges, config: FormulaConfig) -> None:
        self._store = store
        self._feed = feed
        self._nudges = nudges
        self._config = config

    async def rebuild(self) -> tuple[Chart, float]:
        """Measures C and loads this server's charts; gives them, and how long it took, in seconds.

        Raises:
            MarqueeError: ABORTED `REBUILD_UNDER_WAY` if another is at it,
                UNAVAILABLE if the database is away.
        """
        started = time.perf_counter()
        if await self._store.measure(self._config.prior_votes) is None:
            raise MarqueeError(
                grpc.StatusCode.ABORTED,
                "REBUILD_UNDER_WAY",
                "another server rebuilds the charts just now; try again",
                retry_after=2,
            )
        await self._nudges.send()
        return await self._feed.reload(), time.perf_counter() - started

    async def run(self) -> None:
        """Rebuilds whenever it is due, for ever."""
        while True:
            try:
                await self._if_due()
            except MarqueeError as error:
                log.warning("no rebuild now: %s", error)
            await asyncio.sleep(self._config.rebuild_check_s)

    async def _if_due(self) -> None:
        state = await self._store.formula(fresh=True)
        if self._due(state):
            seen = state.formula.generation if state else 0
            # Others may have found it due at the same moment: the first one's generation stands.
            if await self._store.measure(self._config.prior_votes, seen) is not None:
                await self._nudges.send()

    def _due(self, state: FormulaState | None) -> bool:
        if state is None or state.formula.prior_votes != self._config.prior_votes:
            return True
        return self._has_grown(state) or state.age_s >= self._config.rebuild_interval_s

    def _has_grown(self, state: FormulaState) -> bool:
        # A server that is behind would take for growth what has been measured already, at each look.
        if self._feed.chart.formula.generation < state.formula.generation:
            return False
        return abs(self._feed.chart.votes - state.votes) > self._config.rebuild_growth * state.votes
