"""Asking OMDb for a movie that nobody here knows: once for all replicas, answered first, stored after."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from mesh import clock, errors, names
from mesh.errors import MarqueeError
from movie_svc import metrics
from movie_svc.asking.answers import OmdbAnswers
from movie_svc.asking.lease import Leases
from movie_svc.omdb import parse
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.outcome import Absent, Failed, Failure
from movie_svc.storing.entries import Entry, of_record
from movie_svc.storing.records import MovieRecord

log = logging.getLogger(__name__)

_MAX_KEPT: Final = 256
"""Answers that wait to be stored, at most."""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """An entry, and the layer that had it."""

    entry: Entry
    layer: str


class MovieAsker:
    """Asks OMDb for numbers."""

    def __init__(self, omdb: Omdb, leases: Leases, answers: OmdbAnswers) -> None:
        self._omdb = omdb
        self._leases = leases
        self._answers = answers
        self._keeping: set[asyncio.Task[None]] = set()

    async def ask(self, number: int, away: MarqueeError | None) -> ReadResult:
        """What OMDb, or meanwhile another replica, has of a number that is not known here.

        `away` says why that can't be known just now: the database is away, and
        may know a number that OMDb does not.

        Raises:
            MarqueeError: OMDb can't say, and `away` if that is the reason.
        """
        found = await self._leases.take(number) if self._omdb.answers_now else None
        if found is not None:
            return ReadResult(found, "redis")
        try:
            entry, answer = await self._ask(number, away)
        except BaseException:
            await self._leases.release(number)
            raise
        task = asyncio.get_running_loop().create_task(self._keep(number, entry, answer))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        return ReadResult(entry, "omdb")

    async def settled(self) -> None:
        """Waits until all that was answered is stored, or given up."""
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _ask(self, number: int, away: MarqueeError | None) -> tuple[Entry, MovieRecord | Absent]:
        """What OMDb says of a number: what is answered, and what is to be stored of it."""
        what = names.movie_name(number)
        asked_at = clock.utc_now()
        outcome = await self._omdb.by_id(number)
        if isinstance(outcome, Failed):
            raise away or refused(outcome, what)
        if isinstance(outcome, Absent):
            if away is not None:
                raise away
            return self._answers.absence(asked_at), outcome
        try:
            record = self._answers.record(outcome, asked_at)
        except parse.ParseError as error:
            log.warning("%s: OMDb's answer is no title: %s", what, error)
            raise away or refused(Failed(Failure.MALFORMED, str(error), 60), what) from error
        return of_record(record), record

    async def _keep(self, number: int, entry: Entry, answer: MovieRecord | Absent) -> None:
        """Tells the other replicas what has been answered, and stores it."""
        await self._answers.share(number, entry)
        await self._leases.release(number)
        if len(self._keeping) > _MAX_KEPT:
            metrics.UNSAVED.inc()
            return
        try:
            await self._answers.store_patiently(number, answer)
        except MarqueeError:
            metrics.UNSAVED.inc()
            log.warning("%s could not be stored: the primary is away", names.movie_name(number))


def refused(failed: Failed, what: str) -> MarqueeError:
    """The error of a title that is not known while OMDb can't be asked."""
    if failed.failure is Failure.OFF:
        return errors.not_found("MOVIE_NOT_FOUND", f"{what} is not known here, and OMDb is not asked")
    return errors.unavailable(
        "OMDB_UNAVAILABLE",
        f"{what} is not known here, and OMDb can't be asked now ({failed.failure})",
        retry_after=max(1.0, failed.retry_after),
    )


def overdue(what: str) -> MarqueeError:
    """The error of a title that is not known while OMDb takes longer than the caller waits."""
    return errors.unavailable(
        "OMDB_UNAVAILABLE", f"{what} is not known here, and OMDb did not answer in time", retry_after=2
    )
