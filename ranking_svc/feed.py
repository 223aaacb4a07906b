"""Keeps the charts in memory what the database says: loads them, then takes what changes.

Changes are asked of the database, by the transaction that made them, so that
none is missed; a nudge by Redis only says that asking is worth while now. With
a new generation of the formula everything is compared with the database, and
the new order takes the old one's place in one step.
"""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final

from mesh.errors import MarqueeError, unavailable
from ranking_svc import metrics
from ranking_svc.chart import Chart
from ranking_svc.config import ChartConfig, FormulaConfig
from ranking_svc.formula import NO_MEAN, Formula
from ranking_svc.model import Facts, Tally
from ranking_svc.store import FormulaState, Store
from ranking_svc.watch import Watchers

log = logging.getLogger(__name__)

# How many changes are taken before calls get a turn.
_STEP: Final = 100


class Feed:
    """The charts of this process. `run` keeps them."""

    def __init__(self, store: Store, watchers: Watchers, charts: ChartConfig, formula: FormulaConfig) -> None:
        self._store = store
        self._watchers = watchers
        self._config = charts
        self._prior_votes = formula.prior_votes
        self._variants = formula.prior_votes_by_variant
        self._chart: Chart | None = None
        self._horizon = 0
        self._busy = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._fresh_at = time.monotonic()
        metrics.CHART_AGE.set_function(lambda: time.monotonic() - self._fresh_at)

    @property
    def chart(self) -> Chart:
        """The charts to answer from.

        Raises:
            MarqueeError: UNAVAILABLE `CHARTS_NOT_READY` before they have been loaded once.
        """
        if self._chart is None:
            raise unavailable("CHARTS_NOT_READY", "the charts are being loaded; try again", retry_after=1)
        return self._chart

    async def ready(self) -> None:
        """Raises if there are no charts yet. For health."""
        _ = self.chart

    def nudge(self) -> None:
        """Says that something has changed."""
        self._nudged.set()

    async def run(self) -> None:
        """Loads the charts and follows the changes, for ever. What is there is served meanwhile."""
        while True:
            self._nudged.clear()
            try:
                await self.refresh()
            except MarqueeError as error:
                log.warning(
                    "charts stay as they were %.0f s ago: %s", time.monotonic() - self._fresh_at, error
                )
            await asyncio.sleep(self._config.min_gap_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.poll_interval_s):
                    await self._nudged.wait()

    async def refresh(self) -> None:
        """Takes what has changed since the last time; everything if the formula has.

        Raises:
            MarqueeError: UNAVAILABLE while no database answers.
        """
        async with self._busy:
            if self._chart is None:
                await self._load()
                return
            news = await self._store.news(self._horizon)
            if news.generation > self._chart.formula.generation:
                await self._reload(self._chart, fresh=False)
                return
            changed = await self._take_tallies(self._chart, news.tallies)
            await self._take_facts(self._chart, news.facts)
            self._horizon = news.horizon
            self._done(self._chart)
            self._watchers.notify(changed)

    async def reload(self) -> Chart:
        """Takes everything anew from the primary; gives the charts.

        Raises:
            MarqueeError: UNAVAILABLE while it is away.
        """
        async with self._busy:
            if self._chart is None:
                return await self._load(fresh=True)
            return await self._reload(self._chart, fresh=True)

    async def _take_tallies(
        self, chart: Chart, tallies: Sequence[Tally], *, anyhow: bool = False
    ) -> list[int]:
        changed = []
        for number, tally in enumerate(tallies):
            if chart.put_tally(tally, anyhow=anyhow):
                changed.append(tally.movie)
            if number % _STEP == _STEP - 1:
                await asyncio.sleep(0)
        metrics.CHART_CHANGES.inc(len(changed))
        # Facts that came before a movie's first vote were of no use then.
        if lacking := [entry.movie for entry in chart.entries(changed) if entry.facts is None]:
            await self._take_facts(chart, await self._store.facts_of(lacking))
        return changed

    async def _take_facts(self, chart: Chart, many: Sequence[Facts], *, anyhow: bool = False) -> None:
        for number, facts in enumerate(many):
            chart.put_facts(facts, anyhow=anyhow)
            if number % _STEP == _STEP - 1:
                await asyncio.sleep(0)

    async def _load(self, *, fresh: bool = False) -> Chart:
        """Builds the charts for the first time."""
        started = time.perf_counter()
        # A million objects that are here to stay: looking through them for garbage, again and again
        # while they come and ever after, would hold calls up.
        gc.disable()
        try:
            async with self._store.snapshot(fresh=fresh) as snapshot:
                horizon = await snapshot.horizon()
                formula = _formula_of(await snapshot.formula(), self._prior_votes)
                chart = Chart(formula, self._variants)
                async for tallies in snapshot.tallies():
                    for tally in tallies:
                        chart.stage_tally(tally)
                async for many in snapshot.facts():
                    for facts in many:
                        chart.stage_facts(facts)
            await chart.finish()
        finally:
            gc.freeze()
            gc.enable()
        self._chart, self._horizon = chart, horizon
        self._loaded(chart, started)
        return chart

    async def _reload(self, chart: Chart, *, fresh: bool) -> Chart:
        """Compares the charts with everything that the database holds, then weighs them anew.

        They are served meanwhile, and are whole at any moment.
        """
        started = time.perf_counter()
        async with self._store.snapshot(fresh=fresh) as snapshot:
            horizon = await snapshot.horizon()
            formula = _formula_of(await snapshot.formula(), self._prior_votes)
            gone = chart.movies(rated=True)
            async for tallies in snapshot.tallies():
                gone.difference_update(tally.movie for tally in tallies)
                await self._take_tallies(chart, tallies, anyhow=True)
            self._drop(chart, gone)
            gone = chart.movies(rated=False)
            async for many in snapshot.facts():
                gone.difference_update(facts.movie for facts in many)
                await self._take_facts(chart, many, anyhow=True)
            self._drop(chart, gone)
        await chart.reweigh(formula)
        self._horizon = horizon
        self._loaded(chart, started)
        return chart

    def _drop(self, chart: Chart, gone: Iterable[int]) -> None:
        for movie in gone:
            chart.drop(movie)

    def _loaded(self, chart: Chart, started: float) -> None:
        seconds = time.perf_counter() - started
        self._done(chart)
        metrics.REBUILD_SECONDS.observe(seconds)
        metrics.GENERATION.set(chart.formula.generation)
        metrics.PRIOR_MEAN.set(chart.formula.prior_mean)
        log.info(
            "charts of generation %d: %d movies in %.2f s", chart.formula.generation, len(chart), seconds
        )
        self._watchers.notify_all()

    def _done(self, chart: Chart) -> None:
        self._fresh_at = time.monotonic()
        for name, order in chart.orders.named():
            metrics.CHART_MOVIES.labels(name).set(len(order))


def _formula_of(state: FormulaState | None, prior_votes: float) -> Formula:
    return state.formula if state else Formula(0, prior_votes, NO_MEAN)
