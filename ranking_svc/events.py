"""From the events in the log to changes of the aggregates."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError
from marquee.movies.v1 import events_pb2 as movie_events_pb2
from marquee.movies.v1 import movies_pb2
from marquee.ratings.v1 import events_pb2

from mesh import names
from mesh.errors import MarqueeError
from ranking_svc import trending
from ranking_svc.model import SCORES, Change, Facts

SCHEMA_VERSION: Final = 1


class PoisonError(ValueError):
    """A message that can never be taken; `reason` is UPPER_SNAKE, for programs."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def rating_change(value: bytes) -> Change:
    """Reads a RatingChanged.

    Raises:
        PoisonError: it is not one that can be counted.
    """
    try:
        event = events_pb2.RatingChanged.FromString(value)
    except DecodeError as error:
        raise PoisonError("MALFORMED_MESSAGE", f"not a RatingChanged: {error}") from None
    _check_version(event.schema_version)
    if event.event_id <= 0:
        raise PoisonError("NO_EVENT_ID", "it has no event_id: it could not be counted once only")
    old = event.old_score if event.HasField("old_score") else None
    new = event.new_score if event.HasField("new_score") else None
    for score in (old, new):
        if score is not None and score not in SCORES:
            raise PoisonError("SCORE_OUT_OF_RANGE", f"{score} is not a score from 1 to 10")
    if old is None and new is None:
        raise PoisonError("NO_CHANGE", "it has neither an old nor a new score")
    if not event.HasField("submit_time"):
        raise PoisonError("NO_SUBMIT_TIME", "it does not say when it was submitted")
    return Change(
        event.event_id,
        _movie(event.movie),
        old,
        new,
        # Were a clock ahead, its votes would be hotter than any other until then.
        min(event.submit_time.seconds + event.submit_time.nanos / 1e9, time.time()),
    )


def movie_change(value: bytes) -> tuple[Facts, float]:
    """Reads a MovieChanged: the facts, and when movie_svc stored them (seconds since the epoch).

    Raises:
        PoisonError: it can't be used.
    """
    try:
        event = movie_events_pb2.MovieChanged.FromString(value)
    except DecodeError as error:
        raise PoisonError("MALFORMED_MESSAGE", f"not a MovieChanged: {error}") from None
    _check_version(event.schema_version)
    return facts_of(event.movie), event.change_time.seconds + event.change_time.nanos / 1e9


def facts_of(movie: movies_pb2.Movie) -> Facts:
    """Takes what charts show from a Movie.

    Raises:
        PoisonError: its name is not a movie's.
    """
    return Facts(
        _movie(movie.name),
        movie.title,
        movie.year if movie.HasField("year") else None,
        movie.type,
        tuple(movie.genres),
        movie.box_office_usd if movie.HasField("box_office_usd") else None,
    )


def _check_version(version: int) -> None:
    if version != SCHEMA_VERSION:
        raise PoisonError(
            "UNKNOWN_SCHEMA_VERSION", f"its layout is {version}; {SCHEMA_VERSION} is known here"
        )


def _movie(name: str) -> int:
    try:
        return names.movie_number(name, "movie")
    except MarqueeError as error:
        raise PoisonError(error.reason, error.message) from None


@dataclass(slots=True)
class Delta:
    """What a batch changes in one movie's aggregate."""

    counts: list[int] = field(default_factory=lambda: [0] * len(SCORES))
    came: list[float] = field(default_factory=list)
    went: list[float] = field(default_factory=list)


def deltas(changes: Iterable[Change]) -> dict[int, Delta]:
    """Sums changes up: one delta a movie, in ascending order of the movies."""
    summed: dict[int, Delta] = {}
    for change in changes:
        delta = summed.get(change.movie)
        if delta is None:
            delta = summed[change.movie] = Delta()
        if change.old is not None:
            delta.counts[change.old - 1] -= 1
        if change.new is not None:
            delta.counts[change.new - 1] += 1
        if change.old is None:
            delta.came.append(change.time)
        elif change.new is None:
            delta.went.append(change.time)
    return dict(sorted(summed.items()))


def log_heats(times: Sequence[float]) -> list[float]:
    """The log heat of `times` in each window."""
    return [trending.log_heat(times, half_life) for half_life in trending.HALF_LIVES_S]
