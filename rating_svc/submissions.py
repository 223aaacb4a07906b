"""A submission: what a user asked for, as it stands in the log."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# As uuid's own, in C: made of a text in an eighth of the time.
from asyncpg.pgproto.pgproto import UUID
from google.protobuf.message import DecodeError
from marquee.ratings.v1.events_pb2 import RatingSubmitted

from mesh import clock, names, rules
from mesh.errors import MarqueeError
from mesh.kafka import Poison

SCHEMA_VERSION: Final = 1
PROBE: Final = "marquee-probe"
"""The header of a message that asks whether a topic takes messages, and is nothing else."""

# Times outside are a producer's bug, and beyond them PostgreSQL's own range ends somewhere.
_EARLIEST_S: Final = 946_684_800  # 2000-01-01
_LATEST_S: Final = 4_102_444_800  # 2100-01-01


class Position(NamedTuple):
    """A place in the log's order. Compares like the order, for one user."""

    epoch: int
    """Which life of the topic: see `rating_svc.registry`."""
    offset: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A score that a user gave a movie, or the deletion of one."""

    user: str
    movie: int
    """The number in its IMDb id."""
    score: int | None
    """1–10; None if the rating was deleted."""
    request_id: uuid.UUID
    submit_us: int
    """When rating_svc took it, in microseconds since 1970."""


def request_id_of(text: str) -> uuid.UUID | None:
    """The UUID of a request's `request_id`; None for an empty text."""
    return UUID(text) if text else None


def encode(submission: Submission) -> bytes:
    """The event for the log."""
    return encode_all((submission,))[0]


def encode_all(submissions: Sequence[Submission]) -> list[bytes]:
    """The events for the log, of one or more submissions of one user that were taken at the same time."""
    first = submissions[0]
    # One message that is filled in again: that costs a third of one for each.
    event = RatingSubmitted(
        schema_version=SCHEMA_VERSION, user=first.user, submit_time=clock.timestamp(first.submit_us)
    )
    values = []
    for submission in submissions:
        event.request_id = str(submission.request_id)
        event.movie = names.movie_name(submission.movie)
        if submission.score is None:
            event.ClearField("score")
        else:
            event.score = submission.score
        values.append(event.SerializeToString())
    return values


def decode(value: bytes) -> Submission:
    """Reads an event of the log.

    Raises:
        Poison: nothing can be done with it.
    """
    try:
        event = RatingSubmitted.FromString(value)
    except DecodeError:
        raise Poison("UNPARSABLE", "the value is not a RatingSubmitted message") from None
    if event.schema_version != SCHEMA_VERSION:
        raise Poison(
            "UNKNOWN_SCHEMA_VERSION",
            f"schema_version is {event.schema_version}; this release knows {SCHEMA_VERSION}",
        )
    try:
        rules.check(event)
    except MarqueeError as error:
        raise Poison(error.reason, error.message) from None
    time = event.submit_time
    seconds = time.seconds
    if not _EARLIEST_S <= seconds < _LATEST_S:
        raise Poison("INVALID_SUBMIT_TIME", f"submit_time is {seconds} s since 1970")
    return Submission(
        event.user,
        names.number_in(event.movie),
        event.score if event.HasField("score") else None,
        UUID(event.request_id),
        seconds * 1_000_000 + time.nanos // 1000,
    )
