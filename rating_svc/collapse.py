"""What a batch of submissions comes to: the steps that each rating takes."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from rating_svc.submissions import Position, Submission

_NEVER: Final = (None, None)

Identity: TypeAlias = tuple[str, uuid.UUID, int, int]
"""What makes two submissions the same one: user, request_id, movie, score (0: deleted)."""


class Arrival(NamedTuple):
    """A submission as it was read."""

    position: Position
    """Its place in the order."""
    event_id: int
    """Of the event that it makes if it changes the score."""
    submission: Submission
    identity: Identity
    trace: str = ""
    """The `traceparent` of its processing, if it is sampled."""


class Step(NamedTuple):
    """A submission that is later in the order than all that the batch has before it for its rating.

    Each makes an event of its own: were they brought down to one, the events would depend on
    where batches begin and end, and a store that was set back would make others than before.
    """

    user: str
    movie: int
    score: int | None
    """None: deleted."""
    submit_us: int
    position: Position
    event_id: int
    last: bool
    """Whether the batch has no later one: this is what the row becomes."""
    first_us: int | None
    """Of the last: when the batch first rates the movie, in microseconds since 1970; None if never."""
    trace: str = ""
    """As of its arrival."""


def identity(submission: Submission) -> Identity:
    """What a repeat of this submission has in common with it."""
    return (submission.user, submission.request_id, submission.movie, submission.score or 0)


def arrival(position: Position, event_id: int, submission: Submission, trace: str = "") -> Arrival:
    """A submission as it was read."""
    return Arrival(position, event_id, submission, identity(submission), trace)


def identities(arrivals: Iterable[Arrival]) -> list[Identity]:
    """The identities in a batch, each once."""
    return list(dict.fromkeys(arrival.identity for arrival in arrivals))


def collapse(arrivals: Sequence[Arrival], known: Collection[Identity]) -> list[Step]:
    """The steps of a batch, each rating's in their order.

    Args:
        arrivals: the batch, in the order in which it was read.
        known: the identities in it that had taken effect before.
    """
    seen = set(known)
    moves: dict[tuple[str, int], list[Arrival]] = {}
    first: dict[tuple[str, int], tuple[Position, int]] = {}
    for this in arrivals:
        if this.identity in seen:
            continue
        seen.add(this.identity)
        position, submission = this.position, this.submission
        key = (submission.user, submission.movie)
        if submission.score is not None and (key not in first or position < first[key][0]):
            first[key] = (position, submission.submit_us)
        so_far = moves.get(key)
        if so_far is None:
            moves[key] = [this]
        # By position, not by turn: a redriven dead letter comes late and keeps its old place.
        elif so_far[-1].position < position:
            so_far.append(this)
    return [
        Step(
            *key,
            move.submission.score,
            move.submission.submit_us,
            move.position,
            move.event_id,
            move is so_far[-1],
            first.get(key, _NEVER)[1] if move is so_far[-1] else None,
            move.trace,
        )
        for key, so_far in moves.items()
        for move in so_far
    ]
