"""An OMDb answer into a Movie: all that OMDb knows, typed, and nothing dropped.

"N/A" is how OMDb says that it does not know. What stands in a field and can't
be understood goes into `Movie.unparsed` as sent, is logged and counted.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from marquee.movies.v1 import movies_pb2

from mesh.names import imdb_number, movie_name
from movie_svc.metrics import UNPARSED
from movie_svc.omdb import fields
from movie_svc.omdb.text import address, printable, unescaped

log = logging.getLogger(__name__)

_SYNOPSIS_RE: Final = re.compile(r"\s*See full (?:synopsis|summary)\s*»$")
_ABSENT: Final = {"", "N/A"}
_TYPES: Final = {
    "movie": movies_pb2.MOVIE_TYPE_MOVIE,
    "series": movies_pb2.MOVIE_TYPE_SERIES,
    "episode": movies_pb2.MOVIE_TYPE_EPISODE,
    "game": movies_pb2.MOVIE_TYPE_GAME,
}
_NOT_OF_THE_MOVIE: Final = {"Response", "imdbID"}
_ADDRESSES: Final = {"Poster", "Website"}
# IMDb's longest has 208 characters; what is found by a key must fit into an index.
_MAX_TITLE: Final = 500


class ParseError(ValueError):
    """An answer lacks what makes it a title: an IMDb id and a title."""


def number_of(body: Mapping[str, Any]) -> int:
    """The movie's number, from `imdbID`.

    Raises:
        ParseError: there is none.
    """
    found = imdb_number(_cleaned(body.get("imdbID")))
    if found is None:
        raise ParseError(f"imdbID is {body.get('imdbID')!r}, not an IMDb id")
    return found


def movie(body: Mapping[str, Any]) -> movies_pb2.Movie:
    """The Movie of an answer to `i=` or `t=`, or of one line of one to `s=`; no source, times and etag.

    Raises:
        ParseError: it has no IMDb id or no title.
    """
    parser = _Parser(body)
    parser.run()
    return parser.movie


class _Parser:
    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self.movie = movies_pb2.Movie(name=movie_name(number_of(body)))

    def run(self) -> None:
        title = _cleaned(self._body.get("Title"))
        if title in _ABSENT or len(title) > _MAX_TITLE:
            reason = f"a title of {len(title)} characters" if title not in _ABSENT else "no title"
            raise ParseError(f"{self.movie.name} has {reason}")
        self.movie.title = title
        for field, value in self._body.items():
            if field in _NOT_OF_THE_MOVIE or field == "Title":
                continue
            if field == "Ratings":
                self._ratings(value)
                continue
            read = _READERS.get(field)
            try:
                text = _clean(value, address if field in _ADDRESSES else unescaped)
                if text in _ABSENT:
                    continue
                if read is None:
                    raise ValueError("no such field is known")
                read(self.movie, text)
            except ValueError as error:
                self._unparsed(field, str(value), error)

    def _ratings(self, ratings: object) -> None:
        if not isinstance(ratings, list):
            if _cleaned(ratings) in _ABSENT:
                return
            self._unparsed("Ratings", str(ratings), ValueError("not a list"))
            return
        for rating in ratings:
            source = _cleaned(rating.get("Source")) if isinstance(rating, dict) else ""
            value = _cleaned(rating.get("Value")) if isinstance(rating, dict) else ""
            if not source:
                self._unparsed("Ratings", str(rating), ValueError("no source"))
                continue
            if value in _ABSENT:
                continue
            made = self.movie.external_ratings.add(source=source, value=value)
            try:
                made.fraction = fields.fraction(value)
            except ValueError as error:
                self._unparsed(f"Ratings.{source}", value, error)

    def _unparsed(self, field: str, value: str, error: ValueError) -> None:
        self.movie.unparsed[printable(field)] = printable(value)
        UNPARSED.labels(field if field in _READERS else "other").inc()
        log.info("%s: OMDb's %s can't be understood: %s", self.movie.name, field, error)


def _clean(value: object, read: Callable[[str], str] = unescaped) -> str:
    """A value's text, as `read` has it.

    Raises:
        ValueError: it is none, but a list or an object.
    """
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise ValueError("not a text")
    return printable(read(str(value)))


def _cleaned(value: object) -> str:
    """A value's text; empty where it is none."""
    return "" if isinstance(value, list | dict) else _clean(value)


def _text(name: str) -> Callable[[movies_pb2.Movie, str], None]:
    def read(movie: movies_pb2.Movie, text: str) -> None:
        setattr(movie, name, text)

    return read


def _value(name: str, convert: Callable[[str], object]) -> Callable[[movies_pb2.Movie, str], None]:
    def read(movie: movies_pb2.Movie, text: str) -> None:
        setattr(movie, name, convert(text))

    return read


def _message(name: str, convert: Callable[[str], Any]) -> Callable[[movies_pb2.Movie, str], None]:
    def read(movie: movies_pb2.Movie, text: str) -> None:
        getattr(movie, name).CopyFrom(convert(text))

    return read


def _list(name: str, convert: Callable[[str], list[Any]]) -> Callable[[movies_pb2.Movie, str], None]:
    def read(movie: movies_pb2.Movie, text: str) -> None:
        getattr(movie, name).extend(convert(text))

    return read


def _unique(text: str) -> list[str]:
    return list(dict.fromkeys(fields.split(text)))


def _year(movie: movies_pb2.Movie, text: str) -> None:
    first, last, ongoing = fields.years(text)
    movie.year = first
    if last is not None:
        movie.end_year = last
    movie.ongoing = ongoing


def _awards(movie: movies_pb2.Movie, text: str) -> None:
    movie.awards.text = text
    movie.awards.CopyFrom(fields.awards(text))


def _plot(movie: movies_pb2.Movie, text: str) -> None:
    movie.plot = _SYNOPSIS_RE.sub("", text)


def _type(movie: movies_pb2.Movie, text: str) -> None:
    if text.lower() not in _TYPES:
        raise ValueError(f"{text!r} is not a known type")
    movie.type = _TYPES[text.lower()]


def _series(movie: movies_pb2.Movie, text: str) -> None:
    found = imdb_number(text)
    if found is None:
        raise ValueError(f"{text!r} is not an IMDb id")
    movie.series = movie_name(found)


_READERS: Final[Mapping[str, Callable[[movies_pb2.Movie, str], None]]] = {
    "Year": _year,
    "Rated": _text("content_rating"),
    "Released": _message("release_date", fields.day),
    "Runtime": _value("runtime_minutes", fields.runtime),
    "Genre": _list("genres", _unique),
    "Director": _list("directors", fields.credits),
    "Writer": _list("writers", fields.credits),
    "Actors": _list("actors", fields.credits),
    "Plot": _plot,
    "Language": _list("languages", _unique),
    "Country": _list("countries", _unique),
    "Awards": _awards,
    "Poster": _text("poster_uri"),
    "Metascore": _value("metascore", lambda text: round(fields.decimal(text, 0, 100))),
    "imdbRating": _value("imdb_rating", lambda text: fields.decimal(text, 1, 10)),
    "imdbVotes": _value("imdb_votes", fields.count),
    "Type": _type,
    "DVD": _message("dvd_release_date", fields.day),
    "BoxOffice": _value("box_office_usd", fields.money),
    "Production": _text("production"),
    "Website": _text("website_uri"),
    "seriesID": _series,
    "Season": _value("season", fields.count),
    "Episode": _value("episode", fields.count),
    "totalSeasons": _value("total_seasons", fields.count),
}
