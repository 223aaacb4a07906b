"""A Movie as it is stored: ready bytes, and the columns that it is found by."""

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from marquee.movies.v1 import events_pb2, movies_pb2

from mesh import texts
from mesh.names import movie_number
from movie_svc import titles
from movie_svc.config import FreshnessConfig
from movie_svc.omdb import parse

ETAG_CHARS: Final = 16
# The share of a time by which what it is kept for is renewed before its end, on average.
AHEAD: Final = 0.02
_NOT_CONTENT: Final = ("fetch_time", "stale", "etag")
_IN_EVENTS: Final = ("name", "title", "type", "year", "genres", "box_office_usd", "poster_uri", "etag")


@dataclass(frozen=True, slots=True)
class MovieRecord:
    """One row of `movies`."""

    number: int
    data: bytes
    etag: str
    source: int
    fetch_time: datetime
    fresh_until: datetime
    type: int
    title: str
    title_key: str
    words: str
    year: int | None
    votes: int | None
    box_office: int | None
    genres: list[str]
    names: tuple[str, ...] = ()
    """Other names, by which it is found too."""
    answer: bytes | None = None
    """OMDb's body, as it came."""
    unparsed: tuple[str, ...] = ()
    """OMDb's fields that could not be understood."""

    @property
    def partial(self) -> bool:
        """Whether OMDb knows more than this."""
        return self.source != movies_pb2.SOURCE_OMDB


def etag_of(movie: movies_pb2.Movie) -> str:
    """Changes with a movie's content, not with when it was fetched. 16 hexadecimal digits."""
    content = movies_pb2.Movie()
    content.CopyFrom(movie)
    for field in _NOT_CONTENT:
        content.ClearField(field)
    raw = content.SerializeToString(deterministic=True)
    return hashlib.blake2b(raw, digest_size=ETAG_CHARS // 2).hexdigest()


def combined_etag(etag: str, addition: str) -> str:
    """The etag of a movie with something added to it."""
    return hashlib.blake2b(f"{etag}\0{addition}".encode(), digest_size=ETAG_CHARS // 2).hexdigest()


def make(
    movie: movies_pb2.Movie,
    source: "movies_pb2.Source.ValueType",
    now: datetime,
    fresh_until: datetime,
    *,
    answer: bytes | None = None,
    names: Iterable[str] = (),
) -> MovieRecord:
    """The record of a movie; sets its source, fetch time and etag.

    `names` are other ones, by which it is found too.
    """
    movie.source = source
    movie.fetch_time.FromDatetime(now.replace(microsecond=0))
    movie.etag = etag_of(movie)
    others = tuple(dict.fromkeys(name for name in names if name != movie.title))
    return MovieRecord(
        number=movie_number(movie.name),
        data=movie.SerializeToString(deterministic=True),
        etag=movie.etag,
        source=int(source),
        fetch_time=now,
        fresh_until=fresh_until,
        type=int(movie.type),
        title=movie.title,
        title_key=titles.key(movie.title),
        words=" ".join(titles.all_words(movie.title, *others)),
        year=movie.year if movie.HasField("year") else None,
        votes=movie.imdb_votes if movie.HasField("imdb_votes") else None,
        box_office=movie.box_office_usd if movie.HasField("box_office_usd") else None,
        genres=[texts.folded(genre) for genre in movie.genres],
        names=others,
        answer=answer,
        unparsed=tuple(movie.unparsed),
    )


def from_answer(
    body: Mapping[str, Any], raw: bytes, now: datetime, freshness: FreshnessConfig
) -> MovieRecord:
    """The record of OMDb's full answer about a title.

    Raises:
        ParseError: it is not one.
    """
    movie = parse.movie(body)
    fresh_until = now + fresh_for(movie, now, freshness)
    return make(
        movie,
        movies_pb2.SOURCE_OMDB,
        now,
        fresh_until,
        answer=raw,
    )


def from_search(line: Mapping[str, Any], now: datetime) -> MovieRecord:
    """The record of a line of OMDb's search results: it wants a full answer as soon as there is time.

    Raises:
        ParseError: it is not one.
    """
    return make(parse.movie(line), movies_pb2.SOURCE_OMDB_SEARCH, now, now)


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a title, as far as it decides what a record may replace."""

    source: int
    etag: str
    fetch_time: datetime
    movie: bytes | None
    """The stored bytes; None of OMDb's full answer, which no partial record adds anything to."""


def combined(record: MovieRecord, known: Known | None) -> MovieRecord | None:
    """What to store of a record, given what is known; None if nothing.

    A full answer replaces any partial record, however old its file is, and
    another full answer unless that is newer. Partial records complete each other.
    """
    if known is None:
        return record
    if not record.partial:
        replaces = known.source != record.source or known.fetch_time <= record.fetch_time
        return record if replaces else None
    if known.movie is None:
        return None
    new, old = movies_pb2.Movie.FromString(record.data), movies_pb2.Movie.FromString(known.movie)
    # OMDb's own line says a title better than a catalogue.
    first, second = (old, new) if old.source < new.source else (new, old)
    both = merged(first, second, record)
    return both if both.etag != known.etag or both.source != known.source else None


def one_each(found: Iterable[MovieRecord]) -> dict[int, MovieRecord]:
    """The records by number; what comes several times is combined as if it had been stored in that order."""
    by_number: dict[int, MovieRecord] = {}
    for record in found:
        before = by_number.get(record.number)
        if before is not None:
            data = before.data if before.partial else None
            both = combined(record, Known(before.source, before.etag, before.fetch_time, data))
            names = (before.title, *before.names, record.title, *record.names)
            by_number[record.number] = _also_called(both or before, names)
        else:
            by_number[record.number] = record
    return by_number


def _also_called(record: MovieRecord, names: Iterable[str]) -> MovieRecord:
    others = tuple(dict.fromkeys(name for name in names if name != record.title))
    return replace(record, names=others, words=" ".join(titles.all_words(record.title, *others)))


def merged(base: movies_pb2.Movie, other: movies_pb2.Movie, record: MovieRecord) -> MovieRecord:
    """The record of two partial movies: `base`, and what it lacks and `other` knows; `record`'s times."""
    movie = movies_pb2.Movie()
    movie.CopyFrom(other)
    for field, _ in base.ListFields():
        if field.message_type is None or not field.message_type.GetOptions().map_entry:
            movie.ClearField(field.name)  # type: ignore[arg-type]
    # Maps alone are in both: of each key `base` has the say.
    movie.MergeFrom(base)
    return make(
        movie,
        base.source,
        record.fetch_time,
        record.fresh_until,
        names=(*record.names, record.title, other.title),
    )


def fresh_for(movie: movies_pb2.Movie, now: datetime, config: FreshnessConfig) -> timedelta:
    """For how long an answer is fresh: the older the title, the longer; spread, so that titles that were
    fetched together are not all due together."""
    age = now.year - movie.year if movie.HasField("year") else 0
    if age <= 1 or movie.ongoing:
        seconds = config.new_s
    elif age <= 10:
        seconds = config.recent_s
    else:
        seconds = config.old_s
    return timedelta(seconds=spread(seconds))


def spread(seconds: float) -> float:
    """A time within ±10 %."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret


def ahead(seconds: float) -> float:
    """How long before its end what is kept for `seconds` is fetched again, so that nobody waits for it then.

    Drawn at random, so that those who keep the same don't all come at once: see Vattani, Chierichetti and
    Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.
    """
    return seconds * AHEAD * random.expovariate(1)


def changed_event(data: bytes, now: datetime) -> bytes:
    """The MovieChanged event of a stored movie."""
    event = events_pb2.MovieChanged(schema_version=1)
    event.movie.ParseFromString(data)
    for field, _ in event.movie.ListFields():
        if field.name not in _IN_EVENTS:
            event.movie.ClearField(field.name)  # type: ignore[arg-type]
    event.change_time.FromDatetime(now)
    return event.SerializeToString()
