"""RatingTotalsService: what a recount says, for those who keep sums.

Each database counts its own users, in the order of movies; the counts are added
up on the way.
"""

import contextlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg
from marquee.ratings.v1 import internal_pb2 as pb

from mesh import names
from mesh.errors import unavailable
from mesh.rpc import Context
from rating_svc import store
from rating_svc.shards import Shards
from rating_svc.slots import Division
from rating_svc.store import Portion, Snapshot

_PORTION: Final = 1000


class RatingTotalsService:
    """The servicer; see `mesh.rpc`."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def StreamTotals(
        self, request: pb.StreamTotalsRequest, _context: Context
    ) -> AsyncIterator[pb.StreamTotalsResponse]:
        movies = [names.movie_number(name) for name in request.movies]
        try:
            async with contextlib.AsyncExitStack() as stack:
                snapshots = [
                    await stack.enter_async_context(store.snapshot(connection))
                    for _, postgres in self._shards
                    for connection in [await stack.enter_async_context(postgres.read(fresh=request.fresh))]
                ]
                division = _division(snapshots)
                waiting = sum(each.waiting for each in snapshots)
                yield pb.StreamTotalsResponse(outbox_pending=waiting, stored=_stored(snapshots, division))
                parts = [
                    each.counted(movies, _PORTION, _slots(number, each, division))
                    for number, each in enumerate(snapshots)
                    if division.slots_of(number)
                ]
                async for portion in added(parts):
                    yield _response(waiting, portion)
        except asyncpg.SerializationError as error:
            # A replica that replays what the snapshot still needs ends the query sooner or later.
            raise unavailable(
                "SNAPSHOT_LOST",
                f"the replica could not keep the snapshot ({error}); ask again",
                retry_after=1,
            ) from error


def _division(snapshots: Sequence[Snapshot]) -> Division:
    """Who has which users in these snapshots, which were not taken at one moment.

    Raises:
        MarqueeError: UNAVAILABLE, between two of them users moved: they would be missing.
    """
    division = Division([each.claims for each in snapshots])
    if not division.complete:
        raise unavailable("SNAPSHOT_LOST", "users are being moved; ask again", retry_after=1)
    return division


def _slots(number: int, snapshot: Snapshot, division: Division) -> Sequence[int] | None:
    """The slots to count in a database; None: all that it has."""
    slots = division.slots_of(number)
    return None if not division.divided or snapshot.claims.of.keys() == set(slots) else slots


def _stored(snapshots: Sequence[Snapshot], division: Division) -> list[pb.LogPlace]:
    found = []
    for number, snapshot in enumerate(snapshots):
        slots = set(division.slots_of(number))
        found += [
            pb.LogPlace(epoch=epoch, partition=partition, next_offset=at)
            for epoch, partition, at in snapshot.stored
            if partition % division.total in slots
        ]
    return found


async def added(parts: Sequence[AsyncIterator[Portion]]) -> AsyncIterator[Portion]:
    """The counts of several, each in the order of movies, added up by movie; in the same order."""
    heads = [await _next(part) for part in parts]
    while any(heads):
        until = min(head[-1][0] for head in heads if head)
        sums: dict[int, list[int]] = {}
        for number, head in enumerate(heads):
            cut = bisect_right(head, until, key=lambda counted: counted[0])
            for movie, counts in head[:cut]:
                so_far = sums.get(movie)
                sums[movie] = [a + b for a, b in zip(so_far, counts, strict=True)] if so_far else counts
            if cut:
                heads[number] = head[cut:] or await _next(parts[number])
        yield sorted(sums.items())


async def _next(part: AsyncIterator[Portion]) -> Portion:
    return await anext(part, [])


def _response(waiting: int, portion: Portion) -> pb.StreamTotalsResponse:
    return pb.StreamTotalsResponse(
        totals=[pb.MovieTotals(movie=names.movie_name(movie), histogram=counts) for movie, counts in portion],
        outbox_pending=waiting,
    )
