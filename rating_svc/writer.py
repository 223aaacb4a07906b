"""The write path of the RPC front: into the log, then visible to its author."""

import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mesh import clock, identity
from mesh.errors import MarqueeError, invalid
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.metrics import REPEATED, SUBMITTED
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Position, Submission

_submitted: Final = functools.cache(SUBMITTED.labels)


@dataclass(frozen=True, slots=True)
class Write:
    """What a user asks for."""

    movie: int
    score: int | None
    """None: to delete the rating."""
    request_id: uuid.UUID | None
    """What the client calls it, so that it may send it again; None if it does not."""


class Writer:
    """Puts submissions into the log."""

    def __init__(self, log: SubmissionLog, pending: PendingWrites) -> None:
        self._log = log
        self._pending = pending

    async def submit(self, user: str, write: Write, kind: str) -> PendingWrite:
        """Puts one write into the log; returns it, or the earlier one that it repeats.

        When this returns, the write can't be lost and its author sees it.

        Raises:
            MarqueeError: RESOURCE_EXHAUSTED `OVERLOADED`, UNAVAILABLE
                `QUEUE_UNAVAILABLE`: it may or may not take effect; with the same
                request_id it is safe to send it again. INVALID_ARGUMENT
                `REQUEST_ID_REUSED`: its request_id is known to be another one's.
        """
        (checked,) = await self._checked(user, [write])
        if isinstance(checked, MarqueeError):
            raise checked
        submission = _submission(user, checked, clock.now_us())
        position = await self._log.append(submission, _headers())
        (shown,) = await self._show(user, [_pending(checked, submission, position)], kind)
        return shown

    async def submit_all(
        self, user: str, writes: Sequence[Write | MarqueeError], kind: str
    ) -> list[PendingWrite | MarqueeError]:
        """Puts writes of one user into the log in their order.

        Returns:
            For each what `submit` returns, or why it was not taken. An error stays as it is.
        """
        ends = await self._append_all(user, await self._checked(user, writes))
        taken = {i: end for i, end in ends.items() if isinstance(end, PendingWrite)}
        shown = await self._show(user, list(taken.values()), kind)
        ends.update(zip(taken, shown, strict=True))
        return [ends[i] for i in range(len(writes))]

    async def _checked(
        self, user: str, writes: Sequence[Write | MarqueeError]
    ) -> Sequence[Write | MarqueeError]:
        """The writes, refused where a request_id is known to be another one's.

        Two that come at the same moment both take effect: nothing is dropped that was answered with OK.
        """
        ids = dict.fromkeys(w.request_id for w in writes if isinstance(w, Write) and w.request_id)
        if not ids:
            return writes
        known = await self._pending.requested(user, list(ids))
        checked: list[Write | MarqueeError] = []
        for write in writes:
            if isinstance(write, Write) and write.request_id:
                this = (write.movie, write.score or 0)
                checked.append(write if known.setdefault(write.request_id, this) == this else _reused())
            else:
                checked.append(write)
        return checked

    async def _append_all(
        self, user: str, writes: Sequence[Write | MarqueeError]
    ) -> dict[int, PendingWrite | MarqueeError]:
        """Appends those that are writes, as taken at the same time; what became of each, by its number."""
        now = clock.now_us()
        given = {i: write for i, write in enumerate(writes) if isinstance(write, Write)}
        wanted = [_submission(user, write, now) for write in given.values()]
        places = await self._log.append_all(user, wanted, _headers())
        ends: dict[int, PendingWrite | MarqueeError] = {
            i: write for i, write in enumerate(writes) if isinstance(write, MarqueeError)
        }
        for (i, write), submission, place in zip(given.items(), wanted, places, strict=True):
            ends[i] = place if isinstance(place, MarqueeError) else _pending(write, submission, place)
        return ends

    async def _show(self, user: str, writes: Sequence[PendingWrite], kind: str) -> list[PendingWrite]:
        """Lets the author see the writes, which the log has; the earlier one in place of each repeat."""
        _submitted(kind).inc(len(writes))
        shown = await self._pending.put(user, writes) if writes else []
        if repeated := sum(one is not write for one, write in zip(shown, writes, strict=True)):
            REPEATED.inc(repeated)
        return shown


def _submission(user: str, write: Write, submit_us: int) -> Submission:
    return Submission(user, write.movie, write.score, write.request_id or uuid.uuid4(), submit_us)


def _pending(write: Write, submission: Submission, position: Position) -> PendingWrite:
    return PendingWrite(write.movie, write.score, position, submission.submit_us, write.request_id)


def _reused() -> MarqueeError:
    return invalid(
        "request_id",
        "it named another rating before; a new one needs an id of its own",
        "REQUEST_ID_REUSED",
    )


def _headers() -> dict[str, str]:
    """What ties the submission to the RPC that made it, beside its trace."""
    found = identity.call().header(identity.REQUEST_ID_HEADER)
    return {identity.REQUEST_ID_HEADER: found} if found else {}
