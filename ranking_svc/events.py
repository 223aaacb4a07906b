"""From the events in the log to changes of the aggregates."""

from typing import Final

from google.protobuf import timestamp_pb2
from google.protobuf.message import DecodeError
from marquee.movies.v1 import events_pb2 as movie_events_pb2
from marquee.movies.v1 import movies_pb2
from marquee.ratings.v1 import events_pb2

from mesh import clock, names
from mesh.errors import MarqueeError
from mesh.kafka import Poison
from ranking_svc.model import SCORES, Change, Facts

SCHEMA_VERSION: Final = 1

_TITLE_LENGTH: Final = 1000
_GENRE_LENGTH: Final = 100
_GENRES: Final = 100
_YEARS: Final = range(1, 10_000)
_TYPES: Final = range(1 << 15)
_DOLLARS: Final = range(1 << 31)


def rating_change(value: bytes, *, redriven: bool = False) -> Change:
    """Reads a RatingChanged; `redriven` if it is a dead letter that was sent again.

    Raises:
        Poison: it is not one that can be counted.
    """
    try:
        event = events_pb2.RatingChanged.FromString(value)
    except DecodeError as error:
        raise Poison("MALFORMED_MESSAGE", f"not a RatingChanged: {error}") from None
    _check_version(event.schema_version)
    if event.event_id <= 0:
        raise Poison("NO_EVENT_ID", "it has no event_id: it could not be counted once only")
    old = event.old_score if event.HasField("old_score") else None
    new = event.new_score if event.HasField("new_score") else None
    for score in (old, new):
        if score is not None and score not in SCORES:
            raise Poison("SCORE_OUT_OF_RANGE", f"{score} is not a score from 1 to 10")
    if old is None and new is None:
        raise Poison("NO_CHANGE", "it has neither an old nor a new score")
    if not event.HasField("submit_time"):
        raise Poison("NO_SUBMIT_TIME", "it does not say when it was submitted")
    return Change(
        event.event_id,
        _movie(event.movie),
        old,
        new,
        _time(event.submit_time),
        redriven,
    )


def movie_change(value: bytes) -> tuple[Facts, float]:
    """Reads a MovieChanged: the facts, and when movie_svc stored them (seconds since the epoch).

    Raises:
        Poison: it can't be used.
    """
    try:
        event = movie_events_pb2.MovieChanged.FromString(value)
    except DecodeError as error:
        raise Poison("MALFORMED_MESSAGE", f"not a MovieChanged: {error}") from None
    _check_version(event.schema_version)
    return facts_of(event.movie), _time(event.change_time)


def facts_of(movie: movies_pb2.Movie) -> Facts:
    """Takes what charts show from a Movie.

    Raises:
        Poison: its name is not a movie's, or no chart could show it.
    """
    number = _movie(movie.name)
    _check_text("title", movie.title, _TITLE_LENGTH)
    if len(movie.genres) > _GENRES:
        raise Poison("TOO_MANY_GENRES", f"it has {len(movie.genres)} genres; {_GENRES} are the most")
    for genre in movie.genres:
        _check_text("genre", genre, _GENRE_LENGTH)
    year = movie.year if movie.HasField("year") else None
    if year is not None and year not in _YEARS:
        raise Poison("YEAR_OUT_OF_RANGE", f"{year} is not a year from {_YEARS[0]} to {_YEARS[-1]}")
    # A type that only a newer release knows is kept, and found by no filter of this one.
    if movie.type not in _TYPES:
        raise Poison("TYPE_OUT_OF_RANGE", f"{movie.type} is not the number of a MovieType")
    box_office = movie.box_office_usd if movie.HasField("box_office_usd") else None
    if box_office is not None and box_office not in _DOLLARS:
        raise Poison("BOX_OFFICE_OUT_OF_RANGE", f"{box_office} US$ can't be kept")
    return Facts(number, movie.title, year, movie.type, tuple(movie.genres), box_office)


def _check_text(what: str, text: str, length: int) -> None:
    if len(text) > length or "\0" in text:
        raise Poison(
            "UNUSABLE_TEXT", f"its {what} is longer than {length} characters, or has a NUL: {text[:40]!r}"
        )


def _time(at: timestamp_pb2.Timestamp) -> float:
    """In seconds since the epoch, and not later than now.

    Were a clock ahead, its votes would be hotter than any other, and its facts the last, until then.
    """
    if at.seconds < 0 or not 0 <= at.nanos < 1_000_000_000:
        raise Poison("TIME_OUT_OF_RANGE", f"{at.seconds} s and {at.nanos} ns after 1970 is not a time")
    return min(at.seconds + at.nanos / 1e9, clock.now())


def _check_version(version: int) -> None:
    if version != SCHEMA_VERSION:
        raise Poison("UNKNOWN_SCHEMA_VERSION", f"its layout is {version}; {SCHEMA_VERSION} is known here")


def _movie(name: str) -> int:
    try:
        return names.movie_number(name, "movie")
    except MarqueeError as error:
        raise Poison(error.reason, error.message) from None
