"""Compares the aggregates with rating_svc's recount of the ratings, and repairs what differs.

Ratings change meanwhile, and a change needs a moment to arrive here: what
differs at first sight is mostly under way. A movie counts as differing only if
that is proved:

1. the recount R is taken, from the primary;
2. all that the changes topic holds by then has been taken in (the fence);
3. the aggregate A is read;
4. the recount is taken again: it is still R, and no change waits to be handed to the topic;
5. after a fence again, the aggregate is still A, in the same version.

Every change that R stands for is then in A, and none that it does not stand
for: A should be R. A movie that changes meanwhile is looked at again, up to
`_ROUNDS` times. Repair writes R over A if A is still what was read, and up to
where R's log was stored: what comes later adds to it, unless R has it already,
such as a dead letter that is redriven. While the ratings are behind what was
counted, since their database was set back, nothing is repaired.
"""

import asyncio
import logging
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import grpc
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

from mesh import names
from mesh.errors import MarqueeError, unavailable
from ranking_svc import metrics
from ranking_svc.basis import Basis, basis_of, ends_of
from ranking_svc.model import SCORES, Counted, Histogram
from ranking_svc.store import Store

log = logging.getLogger(__name__)

_NONE: Final[Histogram] = (0,) * len(SCORES)
_NO_ROW: Final = Counted(-1, _NONE)
_END: Final[tuple[int, Histogram]] = (1 << 31, _NONE)
_PAGE: Final = 1000
_ROUNDS: Final = 5
_PAUSE_S: Final = 1.0
_SHOWN: Final = 100
_TIMEOUT_S: Final = 120.0

Fence = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A movie whose aggregate is not what the recount says."""

    movie: int
    aggregate: Histogram
    recount: Histogram


@dataclass
class Recount:
    """What a recount of some movies says, and of which state of the ratings it is.

    Attributes:
        pending: how many changes waited in rating_svc's outbox.
        basis: up to where the log was stored; empty from a release that does not say it.
        ends: the same, as `ranking_svc.basis.ends_of`.
    """

    counts: dict[int, Histogram] = field(default_factory=dict)
    pending: int = 0
    basis: list[int] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)


@dataclass
class Findings:
    """What a comparison found; of the mismatches, the first 100."""

    compared: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    differing: int = 0
    repaired: int = 0


class Reconciler:
    """Compares on request."""

    def __init__(
        self, store: Store, totals: "internal_pb2_grpc.RatingTotalsServiceAsyncStub", fence: Fence
    ) -> None:
        self._store = store
        self._totals = totals
        self._fence = fence

    async def run(self, repair: bool) -> Findings:
        """Compares all movies; with `repair`, sets what differs to the recount.

        Raises:
            MarqueeError: UNAVAILABLE if rating_svc, Kafka or the database is away.
        """
        try:
            return await self._run(repair)
        except grpc.aio.AioRpcError as error:
            raise unavailable(
                "RATINGS_UNAVAILABLE",
                f"rating_svc did not give its recount ({error.code().name}); try again",
                retry_after=5,
            ) from error

    async def _run(self, repair: bool) -> Findings:
        findings = Findings()
        suspects = array("i")
        async for movie, aggregate, recount in self._merged(findings):
            if aggregate != recount:
                suspects.append(movie)
        for start in range(0, len(suspects), _PAGE):
            await self._look(set(suspects[start : start + _PAGE]), repair, findings)
        try:
            await self._store.verified(findings.compared, findings.differing, findings.repaired)
        except MarqueeError as error:
            log.warning("it is not written down that all was compared: %s", error)
        return findings

    async def _merged(self, findings: Findings) -> AsyncIterator[tuple[int, Histogram, Histogram]]:
        """Both sides of every movie, in ascending order, a portion of each in memory at a time."""
        mine, theirs = aiter(self._aggregates()), aiter(self._recounts())
        left, right = await _next(mine), await _next(theirs)
        while left is not _END or right is not _END:
            findings.compared += 1
            movie = min(left[0], right[0])
            yield (
                movie,
                left[1] if left[0] == movie else _NONE,
                right[1] if right[0] == movie else _NONE,
            )
            if left[0] == movie:
                left = await _next(mine)
            if right[0] == movie:
                right = await _next(theirs)

    async def _look(self, suspects: set[int], repair: bool, findings: Findings) -> None:
        """Looks at movies again until each is proved to agree or to differ, or the rounds are over."""
        for last in [False] * (_ROUNDS - 1) + [True]:
            before = await self._recount_of(suspects)
            await self._fence()
            aggregate = await self._store.counts_of(suspects)
            counted = await self._store.counted_up_to(before.ends)
            recount = await self._recount_of(suspects)
            await self._fence()
            aggregate_again = await self._store.counts_of(suspects)
            waiting = bool(recount.pending) or _set_back(counted, recount)
            for movie in sorted(suspects):
                seen = aggregate.get(movie, _NO_ROW)
                found = Mismatch(movie, seen.counts, recount.counts.get(movie, _NONE))
                if found.aggregate == found.recount:
                    suspects.discard(movie)
                    continue
                if before.counts.get(movie) != recount.counts.get(movie):
                    continue
                if seen != aggregate_again.get(movie, _NO_ROW) or (waiting and not last):
                    continue
                suspects.discard(movie)
                # With changes still waiting elsewhere it is no proof: it is reported and left as it is.
                repaired = repair and not waiting and await self._repair(found, seen, recount.basis)
                self._found(found, repaired, findings)
            if not suspects:
                return
            await asyncio.sleep(_PAUSE_S)
        metrics.MISMATCHES.labels("unsettled").inc(len(suspects))
        log.warning("%d movies changed in every look and were not compared", len(suspects))

    async def _repair(self, found: Mismatch, seen: Counted, basis: Basis) -> bool:
        return await self._store.repair(found.movie, seen, found.recount, basis)

    def _found(self, found: Mismatch, repaired: bool, findings: Findings) -> None:
        findings.differing += 1
        if len(findings.mismatches) < _SHOWN:
            findings.mismatches.append(found)
        log.warning(
            "aggregate of %s is %s, the recount gives %s",
            names.movie_name(found.movie),
            found.aggregate,
            found.recount,
        )
        findings.repaired += repaired
        metrics.MISMATCHES.labels("repaired" if repaired else "reported").inc()

    async def _aggregates(self) -> AsyncIterator[tuple[int, Histogram]]:
        movie = 0
        while page := await self._store.histograms_after(movie, _PAGE):
            for one in page:
                yield one
            movie = page[-1][0]

    async def _recounts(self) -> AsyncIterator[tuple[int, Histogram]]:
        request = internal_pb2.StreamTotalsRequest()
        async for portion in self._totals.StreamTotals(request, timeout=_TIMEOUT_S):
            for totals in portion.totals:
                yield names.movie_number(totals.movie, "movie"), tuple(totals.histogram)

    async def _recount_of(self, movies: Iterable[int]) -> Recount:
        # A replica may be behind what was counted here long ago.
        request = internal_pb2.StreamTotalsRequest(movies=map(names.movie_name, sorted(movies)), fresh=True)
        found = Recount()
        async for portion in self._totals.StreamTotals(request, timeout=_TIMEOUT_S):
            found.pending = max(found.pending, portion.outbox_pending)
            found.basis.extend(basis_of(portion.stored))
            found.ends |= ends_of(portion.stored)
            for totals in portion.totals:
                found.counts[names.movie_number(totals.movie, "movie")] = tuple(totals.histogram)
        return found


def _set_back(counted: Mapping[int, int], recount: Recount) -> bool:
    """Whether more was counted than the ratings hold that were recounted after it.

    Then their database was set back, by a failover or from a backup, and reads the log again. What it stores
    again is known here and does not count a second time, so that a repair now would lose it.
    """
    return any(last >= recount.ends.get(start, start) for start, last in counted.items())


async def _next(sides: AsyncIterator[tuple[int, Histogram]]) -> tuple[int, Histogram]:
    """The next movie of a side; _END behind the last."""
    # anext() fails when its default is a tuple: https://github.com/python/cpython/issues/128078
    async for one in sides:
        return one
    return _END
