"""Compares the charts in memory with everything that the database holds, a portion at a time.

Between two portions the charts go on following the changes. So nothing older
replaces anything newer here, and a movie is only dropped if it would have been
there to be read: it is of an earlier life of the database, or the transaction
that put it here had ended.
"""

import asyncio
import bisect
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ranking_svc.chart import Chart
from ranking_svc.horizon import State
from ranking_svc.model import Facts, Tally
from ranking_svc.store_charts import ChartStore, Portion

PORTION: Final = 1000
"""Movies."""

TakeTallies = Callable[[Sequence[Tally]], Awaitable[object]]
TakeFacts = Callable[[Sequence[Facts]], Awaitable[object]]


class Comparison:
    """One look at everything: `step` until it is `done`."""

    def __init__(
        self,
        chart: Chart,
        store: ChartStore,
        take_tallies: TakeTallies,
        take_facts: TakeFacts,
        *,
        fresh: bool,
    ) -> None:
        """Begins one; with `fresh` the primary is asked."""
        self._chart = chart
        self._store = store
        self._take_tallies = take_tallies
        self._take_facts = take_facts
        self._fresh = fresh
        self._held = chart.numbers()
        self._at = 0
        self._tallies_done = False
        self.done = False

    async def step(self) -> None:
        """Compares the next portion.

        Raises:
            MarqueeError: UNAVAILABLE while no database answers; try again.
        """
        if not self._tallies_done:
            tallies = await self._store.tallies_after(self._at, PORTION, fresh=self._fresh)
            await self._take_tallies(tallies.rows)
            for movie in self._missing(tallies):
                entry = self._chart.get(movie)
                if entry and entry.tally and _ended(entry.tally, tallies.state):
                    self._chart.drop_tally(movie)
            self._tallies_done = self._go_on(tallies)
            return
        facts = await self._store.facts_after(self._at, PORTION, fresh=self._fresh)
        await self._take_facts(facts.rows)
        for movie in self._missing(facts):
            entry = self._chart.get(movie)
            if entry and entry.facts and _ended(entry.facts, facts.state):
                self._chart.drop_facts(movie)
        self.done = self._go_on(facts)

    async def all(self) -> None:
        """Compares everything at once."""
        while not self.done:
            await self.step()
            await asyncio.sleep(0)

    def _missing(self, portion: Portion[Tally] | Portion[Facts]) -> set[int]:
        """The movies that were held, stand in the portion's range, and not in it."""
        start = bisect.bisect_right(self._held, self._at)
        end = len(self._held) if portion.last else bisect.bisect_right(self._held, portion.rows[-1].movie)
        return set(self._held[start:end]).difference(row.movie for row in portion.rows)

    def _go_on(self, portion: Portion[Tally] | Portion[Facts]) -> bool:
        self._at = 0 if portion.last else portion.rows[-1].movie
        return portion.last


def _ended(known: Tally | Facts, state: State) -> bool:
    """Whether what is known would have been there to be read in that state."""
    return known.life < state.life or (known.life == state.life and known.changed < state.xmin)
