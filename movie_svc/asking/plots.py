"""Full plots: a second question to OMDb, only for those who want one."""

import logging

from mesh.errors import MarqueeError
from mesh.single_flight import SingleFlight
from movie_svc import wire
from movie_svc.asking.answers import OmdbAnswers
from movie_svc.omdb import parse
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.outcome import Failed, Found
from movie_svc.omdb.quota import Purpose
from movie_svc.storing import records
from movie_svc.storing.entries import Entry
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)


class Plots:
    """Reads full plots, from PostgreSQL or OMDb."""

    def __init__(self, store: Store, omdb: Omdb, answers: OmdbAnswers) -> None:
        self._store = store
        self._omdb = omdb
        self._answers = answers
        self._flights: SingleFlight[str | None] = SingleFlight()

    async def add(self, number: int, data: bytes, entry: Entry, timeout_s: float) -> tuple[bytes, str]:
        """A movie's bytes with its full plot, and the etag of both together.

        The movie is answered without a full plot where there is none, or none
        can be had now: it is an extra.
        """
        try:
            plot = await self._plot(number, timeout_s)
        except (MarqueeError, TimeoutError) as error:
            log.info("%d is answered without its full plot: %s", number, error or "OMDb is too slow")
            return data, entry.etag
        if plot is None:
            return data, entry.etag
        etag = records.combined_etag(entry.etag, plot)
        return wire.with_full_plot(data, plot, etag), etag

    async def _plot(self, number: int, timeout_s: float) -> str | None:
        # A replica may not have it yet: before OMDb is asked, so is the primary.
        for fresh in (False, True):
            known = await self._store.full_plot(number, fresh=fresh)
            if known is not None and known[1]:
                return known[0]
        try:
            return await self._flights.join(number, lambda: self._ask(number, known), timeout_s)
        except TimeoutError:
            if known is None:
                raise
            return known[0]

    async def _ask(self, number: int, known: tuple[str | None, bool] | None) -> str | None:
        outcome = await self._omdb.by_id(number, purpose=Purpose.PLOT)
        if isinstance(outcome, Failed):
            return known[0] if known is not None else None
        plot = None
        if isinstance(outcome, Found):
            try:
                plot = parse.movie(outcome.body).plot or None
            except parse.ParseError as error:
                log.warning("%d: OMDb's answer is no title: %s", number, error)
                return known[0] if known is not None else None
        await self._answers.keep_full_plot(number, plot)
        return plot
