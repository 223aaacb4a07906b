"""The write path of the RPC front: into the log, then visible to its author."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from mesh import clock, identity
from mesh.errors import MarqueeError, invalid
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.metrics import REPEATED, SUBMITTED
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Submission


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
        (end,) = await self._show(user, [await self._append(user, checked)], kind)
        if isinstance(end, MarqueeError):
            raise end
        return end

    async def submit_all(
        self, user: str, writes: Sequence[Write | MarqueeError], kind: str
    ) -> list[PendingWrite | MarqueeError]:
        """Puts writes of one user into the log in their order.

        Returns:
            For each what `submit` returns, or why it was not taken. An error stays as it is.
        """
        checked = await self._checked(user, writes)
        ends = await asyncio.gather(*(self._append(user, write) for write in checked))
        return await self._show(user, ends, kind)

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

    async def _append(self, user: str, write: Write | MarqueeError) -> PendingWrite | MarqueeError:
        if isinstance(write, MarqueeError):
            return write
        submission = Submission(
            user, write.movie, write.score, write.request_id or uuid.uuid4(), clock.now_us()
        )
        try:
            position = await self._log.append(submission, _headers())
        except MarqueeError as error:
            return error
        return PendingWrite(write.movie, write.score, position, submission.submit_us, write.request_id)

    async def _show(
        self, user: str, ends: Sequence[PendingWrite | MarqueeError], kind: str
    ) -> list[PendingWrite | MarqueeError]:
        """Lets the author see the writes that the log has; the earlier one in place of each repeat."""
        taken = {i: end for i, end in enumerate(ends) if isinstance(end, PendingWrite)}
        SUBMITTED.labels(kind).inc(len(taken))
        shown = list(ends)
        if taken:
            for i, write in zip(taken, await self._pending.put(user, list(taken.values())), strict=True):
                shown[i] = write
        REPEATED.inc(sum(end is not write for end, write in zip(ends, shown, strict=True)))
        return shown


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
