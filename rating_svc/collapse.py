"""What a batch of submissions comes to: one change a rating."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from rating_svc.submissions import Position, Submission

Identity: TypeAlias = tuple[str, uuid.UUID, int, int]
"""What makes two submissions the same one: user, request_id, movie, score (0: taken back)."""


@dataclass(frozen=True, slots=True)
class Change:
    """The last submission of a rating in a batch."""

    user: str
    movie: int
    score: int | None
    """None: taken back."""
    first_us: int | None
    """When the batch first gives the rating a score, in microseconds since 1970; None if it never does."""
    submit_us: int
    position: Position


@dataclass(frozen=True, slots=True)
class Touch:
    """A duplicate's place in the log.

    The row moves up to it, so that a replay from behind the first one, after
    its request_id has been forgotten, finds the duplicate dealt with.
    """

    user: str
    movie: int
    position: Position


def identity(submission: Submission) -> Identity:
    """What a repeat of this submission has in common with it."""
    return (submission.user, submission.request_id, submission.movie, submission.score or 0)


def collapse(
    entries: Iterable[tuple[Position, Submission]], fresh: Collection[Identity]
) -> tuple[list[Change], list[Touch]]:
    """Brings a batch down to one change a rating.

    Args:
        entries: the batch, in the order in which it was read.
        fresh: the identities that the database had not seen before.
    """
    left = set(fresh)
    last: dict[tuple[str, int], tuple[Position, Submission]] = {}
    first_us: dict[tuple[str, int], tuple[Position, int]] = {}
    duplicates: dict[tuple[str, int], Position] = {}
    for position, submission in entries:
        key = (submission.user, submission.movie)
        known = identity(submission)
        if known not in left:
            duplicates[key] = max(position, duplicates.get(key, position))
            continue
        left.remove(known)
        # By position, not by turn: a redriven dead letter comes late and keeps its old place.
        if key not in last or last[key][0] < position:
            last[key] = (position, submission)
        if submission.score is not None and (key not in first_us or position < first_us[key][0]):
            first_us[key] = (position, submission.submit_us)
    changes = [
        Change(
            user,
            movie,
            submission.score,
            first_us[user, movie][1] if (user, movie) in first_us else None,
            submission.submit_us,
            position,
        )
        for (user, movie), (position, submission) in last.items()
    ]
    touches = [
        Touch(user, movie, position)
        for (user, movie), position in duplicates.items()
        if (user, movie) not in last or last[user, movie][0] < position
    ]
    return changes, touches
