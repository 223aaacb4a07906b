"""Asking OMDb again: what is read most and not fresh comes first, within the day's share of calls.

One replica leads. It takes what was read most (`movie_svc.asking.refresh_queue`); while
nobody wants anything it goes through what is due anyway, the best known first,
evenly over the day.
"""

import asyncio
import logging
import time
from typing import Final

from mesh import clock
from mesh.errors import MarqueeError
from mesh.names import movie_name
from mesh.switches import EARLY_REFRESH
from mesh.turns import Turns
from movie_svc import metrics
from movie_svc.asking.answers import OmdbAnswers
from movie_svc.asking.refresh_queue import RefreshQueue
from movie_svc.config import OmdbConfig
from movie_svc.omdb import parse
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.outcome import Absent, Failed
from movie_svc.omdb.quota import Purpose
from movie_svc.storing.entries import Entry
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_FOLLOW_S: Final = 5.0
_IDLE_S: Final = 1.0
_PACE_S: Final = 0.2
_LONGEST_REST_S: Final = 30.0


class Refresher:
    """Keeps stored titles fresh."""

    def __init__(
        self,
        config: OmdbConfig,
        store: Store,
        turns: Turns,
        answers: OmdbAnswers,
        omdb: Omdb,
        refresh_queue: RefreshQueue,
    ) -> None:
        self._store = store
        self._turns = turns
        self._answers = answers
        self._omdb = omdb
        self._refresh_queue = refresh_queue
        self._due_every_s = _DAY_S / max(1.0, config.daily_limit * config.refresh_share)
        self._due_at = 0.0

    async def run(self) -> None:
        """Leads whenever no other replica does."""
        while True:
            try:
                async with self._turns.take("refresh") as held:
                    while held is not None:
                        await held.confirm()
                        await held.rest(await self.step())
            except MarqueeError as error:
                log.info("refreshing rests: %s", error)
            await asyncio.sleep(_FOLLOW_S)

    async def step(self) -> float:
        """Asks for at most one title; returns after how many seconds to come again."""
        if not self._omdb.answers_now:
            return _IDLE_S
        number = await self._next()
        if number is None:
            return _IDLE_S
        return await self._refresh(number)

    async def _next(self) -> int | None:
        while (wanted := await self._refresh_queue.take()) is not None:
            entry = (await self._store.get_many([wanted], fresh=True)).get(wanted)
            if entry is not None and not entry.absent and _wanted(entry, clock.now()):
                return wanted
        if time.monotonic() < self._due_at or not EARLY_REFRESH.on:
            return None
        self._due_at = time.monotonic() + self._due_every_s
        return next(iter(await self._store.due(1)), None)

    async def _refresh(self, number: int) -> float:
        # Of two answers that one counts which was asked for later, whenever they are stored.
        asked_at = clock.utc_now()
        outcome = await self._omdb.by_id(number, purpose=Purpose.REFRESH)
        if isinstance(outcome, Failed):
            metrics.REFRESHED.labels("failed").inc()
            self._refresh_queue.add(number)
            return min(max(outcome.retry_after, _IDLE_S), _LONGEST_REST_S)
        try:
            changed = await self._answers.keep(number, outcome, asked_at)
        except parse.ParseError as error:
            log.warning("%s: OMDb's answer is no title: %s", movie_name(number), error)
            metrics.REFRESHED.labels("failed").inc()
            return _PACE_S
        if isinstance(outcome, Absent):
            log.info("%s: OMDb does not know it any more: %s", movie_name(number), outcome.reason)
            metrics.REFRESHED.labels("absent").inc()
        else:
            metrics.REFRESHED.labels("changed" if changed else "same").inc()
        return _PACE_S


def _wanted(entry: Entry, now: float) -> bool:
    return entry.nears_its_end(now) if EARLY_REFRESH.on else entry.fresh_until < now
