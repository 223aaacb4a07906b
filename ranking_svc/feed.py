"""Keeps the charts in memory what the database says: loads them, then takes what changes.

Changes are asked of the database, by the transaction that made them, so that
none is missed; a nudge by Redis only says that asking is worth while now. A new
generation of the formula needs nothing but sorting: the new order takes the old
one's place in one step. Beside that, everything is compared with the database,
little by little, and faster once it is in another life: after a failover.
"""

import asyncio
import contextlib
import gc
import logging
import random
import time
from collections.abc import Sequence
from typing import Final

from mesh import spans
from mesh.errors import MarqueeError, unavailable
from ranking_svc import metrics
from ranking_svc.chart import Chart
from ranking_svc.comparing import PORTION, Comparison
from ranking_svc.config import ChartConfig, FormulaConfig
from ranking_svc.formula import NO_MEAN, Formula
from ranking_svc.horizon import Horizon
from ranking_svc.model import Facts, Tally
from ranking_svc.store import Store
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
        self._horizon: Horizon | None = None
        self._comparison: Comparison | None = None
        # Servers that start at the same time don't compare at the same time.
        self._compare_at = time.monotonic() + random.random() * PORTION / charts.compare_rate  # noqa: S311
        self._hurry = False
        self._formula_life = 0
        self._busy = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._trace = ""
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

    def nudge(self, trace: str = "") -> None:
        """Says that something has changed, and by its `traceparent` in which trace, if that was sampled."""
        self._trace = trace or self._trace
        self._nudged.set()

    async def run(self) -> None:
        """Loads the charts and follows the changes, forever. What is there is served meanwhile."""
        while True:
            self._nudged.clear()
            trace, self._trace = self._trace, ""
            try:
                with spans.following(trace, "refresh charts"):
                    await self.refresh()
                if time.monotonic() >= self._compare_at:
                    await self.compare()
            except MarqueeError as error:
                log.warning(
                    "charts stay as they were %.0f s ago: %s", time.monotonic() - self._fresh_at, error
                )
            await asyncio.sleep(self._config.min_gap_s)
            pause_s = min(self._config.poll_interval_s, max(0.0, self._compare_at - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._nudged.wait()

    async def refresh(self) -> None:
        """Takes what has changed since the last time, and the formula if it has.

        Raises:
            MarqueeError: UNAVAILABLE while no database answers that is up to date.
        """
        async with self._busy:
            if self._chart is None or self._horizon is None:
                await self._load()
                return
            await self._follow(self._chart, self._horizon)

    async def compare(self) -> None:
        """Compares one portion of the charts with the database.

        Raises:
            MarqueeError: UNAVAILABLE while no database answers.
        """
        async with self._busy:
            if self._chart is None:
                return
            rate = self._config.compare_rate
            if self._comparison is None:
                self._comparison = self._compare(self._chart, fresh=False)
            elif self._hurry:
                rate = max(rate, self._config.catch_up_rate)
            self._compare_at = time.monotonic() + PORTION / rate
            await self._comparison.step()
            if self._comparison.done:
                self._comparison, self._hurry = None, False

    async def reload(self) -> Chart:
        """Compares everything with the primary at once, and takes the formula in force; returns the charts.

        Raises:
            MarqueeError: UNAVAILABLE while it is away.
        """
        async with self._busy:
            if self._chart is None:
                return await self._load(fresh=True)
            started = time.perf_counter()
            chart = self._chart
            await self._compare(chart, fresh=True).all()
            state = await self._store.formula(fresh=True)
            await chart.reweigh(state.formula if state else Formula(0, self._prior_votes, NO_MEAN))
            self._loaded(chart, started)
            return chart

    async def _follow(self, chart: Chart, horizon: Horizon) -> None:
        started = time.perf_counter()
        news = await self._store.news(horizon)
        if news.state.life < horizon.life:
            raise unavailable("STALE_DATABASE", "a database of before the failover answered", 1)
        await self._take_tallies(chart, news.tallies)
        await self._take_facts(chart, news.facts)
        if news.state.life > horizon.life:
            log.warning("the database is in another life: all charts are compared with it")
            self._horizon = Horizon(news.state)
            self._comparison, self._hurry = self._compare(chart, fresh=False), True
            self._compare_at = time.monotonic()
        else:
            horizon.took(news.state, news.changed())
        if news.formula and (news.state.life, news.formula.generation) > (
            self._formula_life,
            chart.formula.generation,
        ):
            await chart.reweigh(news.formula)
            self._formula_life = news.state.life
            self._loaded(chart, started)
        self._done(chart)

    def _compare(self, chart: Chart, *, fresh: bool) -> Comparison:
        return Comparison(
            chart,
            self._store,
            lambda tallies: self._take_tallies(chart, tallies),
            lambda many: self._take_facts(chart, many),
            fresh=fresh,
        )

    async def _take_tallies(self, chart: Chart, tallies: Sequence[Tally]) -> list[int]:
        changed = []
        for number, tally in enumerate(tallies):
            if chart.put_tally(tally):
                changed.append(tally.movie)
            if number % _STEP == _STEP - 1:
                await asyncio.sleep(0)
        metrics.CHART_CHANGES.inc(len(changed))
        # Facts that came before a movie's first vote were of no use then.
        if lacking := [entry.movie for entry in chart.entries(changed) if entry.facts is None]:
            await self._take_facts(chart, await self._store.facts_of(lacking))
        self._watchers.notify(changed)
        return changed

    async def _take_facts(self, chart: Chart, many: Sequence[Facts]) -> None:
        for number, facts in enumerate(many):
            chart.put_facts(facts)
            if number % _STEP == _STEP - 1:
                await asyncio.sleep(0)

    async def _load(self, *, fresh: bool = False) -> Chart:
        """Builds the charts for the first time."""
        started = time.perf_counter()
        # A million objects that are here to stay: looking through them for garbage, again and
        # again, would hold calls up.
        gc.disable()
        try:
            async with self._store.snapshot(fresh=fresh) as snapshot:
                state, formula = await snapshot.state()
                chart = Chart(formula or Formula(0, self._prior_votes, NO_MEAN), self._variants)
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
        self._chart, self._horizon, self._formula_life = chart, Horizon(state), state.life
        self._loaded(chart, started)
        return chart

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
