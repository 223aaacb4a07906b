"""Many ratings at once: BatchRateMovies and ImportRatings. Each is taken or refused by itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from marquee.ratings.v1 import ratings_pb2 as pb

from mesh import names, rules
from mesh.errors import MarqueeError, unavailable
from rating_svc import movies as movie_check
from rating_svc import resources
from rating_svc.cache import PendingWrite
from rating_svc.metrics import IMPORT_RETRIES
from rating_svc.movies import Movies, movie_not_found
from rating_svc.submissions import request_id_of
from rating_svc.writer import Write, Writer

_PORTION: Final = 200
_MAX_FAILURES: Final = 100
_SHOWN_CHARS: Final = 100
_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.25
_PASSING: Final = ("OVERLOADED", "QUEUE_UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Item:
    """One of many: what its client asks for, or why that can't be."""

    name: str
    """As the client sent it."""
    write: Write | MarqueeError


def batch_item(request: pb.RateMovieRequest, user: str, index: int) -> Item:
    """An item of BatchRateMovies."""
    try:
        rules.check(request, f"requests[{index}].")
        owner, movie = names.rating_parts(request.name)
        resources.require_own(owner, user)
        write = Write(movie, request.score, request_id_of(request.request_id))
    except MarqueeError as error:
        return Item(request.name, error)
    return Item(request.name, write)


def import_item(request: pb.ImportRatingsRequest) -> Item:
    """A message of ImportRatings."""
    try:
        rules.check(request)
        write = Write(names.movie_number(request.movie), request.score, None)
    except MarqueeError as error:
        return Item(request.movie[:_SHOWN_CHARS], error)
    return Item(request.movie, write)


class Bulk:
    """Takes many ratings of one user."""

    def __init__(self, writer: Writer, movies: Movies) -> None:
        self._writer = writer
        self._movies = movies

    async def rate(self, user: str, items: Sequence[Item], kind: str) -> list[pb.RateResult]:
        """Takes or refuses each; one result each, in their order."""
        ends = await self._submit(user, await self._checked(items), kind)
        return [_result(user, item.name, end) for item, end in zip(items, ends, strict=True)]

    async def take_all(
        self, user: str, requests: AsyncIterator[pb.ImportRatingsRequest]
    ) -> pb.ImportRatingsResponse:
        """Takes a stream, a portion at a time.

        Raises:
            MarqueeError: UNAVAILABLE `QUEUE_UNAVAILABLE` if the log stays away: what was taken before
                that is kept, and the rest may be sent again.
        """
        answer = pb.ImportRatingsResponse()
        portion: list[Item] = []
        async for request in requests:
            portion.append(import_item(request))
            if len(portion) == _PORTION:
                await self._import(user, portion, answer)
                portion = []
        if portion:
            await self._import(user, portion, answer)
        return answer

    async def _import(self, user: str, items: list[Item], answer: pb.ImportRatingsResponse) -> None:
        items = await self._checked(items)
        ends = await self._submit(user, items, "import")
        pause = _FIRST_PAUSE_S
        for _ in range(_ATTEMPTS):
            again = [i for i, end in enumerate(ends) if _may_pass(end)]
            if not again:
                break
            IMPORT_RETRIES.inc()
            await asyncio.sleep(pause)
            pause *= 2
            retried = await self._submit(user, [items[i] for i in again], "import")
            for i, end in zip(again, retried, strict=True):
                ends[i] = end
        answer.imported += sum(isinstance(end, PendingWrite) for end in ends)
        if any(map(_may_pass, ends)):
            raise unavailable(
                "QUEUE_UNAVAILABLE",
                f"the queue stays away; {answer.imported} ratings were taken, send the others again",
                retry_after=5,
            )
        for item, end in zip(items, ends, strict=True):
            if isinstance(end, MarqueeError):
                answer.failed += 1
                if len(answer.failures) < _MAX_FAILURES:
                    answer.failures.append(_result(user, item.name, end))

    async def _checked(self, items: Sequence[Item]) -> list[Item]:
        """The items, refused where there is no such movie."""
        movies = sorted({item.write.movie for item in items if isinstance(item.write, Write)})
        groups = [movies[i : i + movie_check.BATCH] for i in range(0, len(movies), movie_check.BATCH)]
        missing: set[int] = set().union(*await asyncio.gather(*map(self._movies.missing, groups)))
        return [
            Item(item.name, movie_not_found(item.write.movie))
            if isinstance(item.write, Write) and item.write.movie in missing
            else item
            for item in items
        ]

    async def _submit(self, user: str, items: Sequence[Item], kind: str) -> list[PendingWrite | MarqueeError]:
        return await self._writer.submit_all(user, [item.write for item in items], kind)


def _may_pass(end: PendingWrite | MarqueeError) -> bool:
    return isinstance(end, MarqueeError) and end.reason in _PASSING


def _result(user: str, name: str, end: PendingWrite | MarqueeError) -> pb.RateResult:
    if isinstance(end, MarqueeError):
        return pb.RateResult(name=name, reason=end.reason, message=end.message)
    return pb.RateResult(name=name, rating=resources.submitted(user, end))
