"""The write path of the RPC front: into the log, then visible to its author."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from mesh import clock, identity
from mesh.errors import MarqueeError, invalid
from rating_svc.cache import Named, Pending, PendingWrites
from rating_svc.metrics import REPEATED, SUBMITTED
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Submission


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user asks for."""

    movie: int
    score: int | None
    """None: to take the rating back."""
    request_id: uuid.UUID | None
    """The client's name for this submission, if it gave one."""


class Writer:
    """Puts submissions into the log."""

    def __init__(self, log: SubmissionLog, pending: PendingWrites) -> None:
        self._log = log
        self._pending = pending

    async def submit(self, user: str, wish: Wish, kind: str) -> Pending:
        """Puts one submission into the log; gives it, or the earlier one that it repeats.

        When this returns, the submission can't be lost and its author sees it.

        Raises:
            MarqueeError: RESOURCE_EXHAUSTED `OVERLOADED`, UNAVAILABLE
                `QUEUE_UNAVAILABLE`: it may or may not take effect; with the same
                request_id it is safe to send it again. INVALID_ARGUMENT
                `REQUEST_ID_REUSED`: its request_id is known to be another one's.
        """
        (end,) = await self._others(user, [wish])
        if end is not None:
            raise end
        write = await self._append(user, wish)
        SUBMITTED.labels(kind).inc()
        return (await self._show(user, [write]))[0]

    async def submit_all(self, user: str, wishes: Sequence[Wish], kind: str) -> list[Pending | MarqueeError]:
        """Puts submissions of one user into the log in their order; gives each, or why it was not taken."""
        reused = await self._others(user, wishes)
        ended = await asyncio.gather(
            *(self._append(user, wish, end) for wish, end in zip(wishes, reused, strict=True)),
            return_exceptions=True,
        )
        for end in ended:
            if isinstance(end, BaseException) and not isinstance(end, MarqueeError):
                raise end
        taken = [write for write in ended if isinstance(write, Named)]
        SUBMITTED.labels(kind).inc(len(taken))
        shown = iter(await self._show(user, taken) if taken else ())
        return [next(shown) if isinstance(end, Named) else end for end in ended]  # type: ignore[misc]

    async def _others(self, user: str, wishes: Sequence[Wish]) -> list[MarqueeError | None]:
        """For each wish, an error if its request_id is known to be another submission's.

        Two that come at the same moment both take effect: nothing is dropped that was answered with OK.
        """
        ids = list(dict.fromkeys(wish.request_id for wish in wishes if wish.request_id is not None))
        if not ids:
            return [None] * len(wishes)
        known = await self._pending.named(user, ids)
        found: list[MarqueeError | None] = []
        for wish in wishes:
            this = (wish.movie, wish.score or 0)
            other = wish.request_id is not None and known.setdefault(wish.request_id, this) != this
            found.append(_reused() if other else None)
        return found

    async def _append(self, user: str, wish: Wish, refused: MarqueeError | None = None) -> Named:
        if refused is not None:
            raise refused
        submission = Submission(user, wish.movie, wish.score, wish.request_id or uuid.uuid4(), clock.now_us())
        position = await self._log.append(submission, _headers())
        pending = Pending(position, wish.score, submission.submit_us)
        return Named(wish.movie, pending, wish.request_id)

    async def _show(self, user: str, writes: Sequence[Named]) -> list[Pending]:
        shown = await self._pending.put(user, writes)
        REPEATED.inc(sum(s is not w.pending for s, w in zip(shown, writes, strict=True)))
        return shown


def _reused() -> MarqueeError:
    return invalid(
        "request_id",
        "it named another rating before; a new one needs an id of its own",
        "REQUEST_ID_REUSED",
    )


def _headers() -> dict[str, str]:
    """What ties the submission to the RPC that made it."""
    call = identity.call()
    found = {key: call.header(key) for key in (identity.TRACEPARENT_HEADER, identity.REQUEST_ID_HEADER)}
    return {key: value for key, value in found.items() if value}
