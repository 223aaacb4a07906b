"""MovieLens' catalogue (https://grouplens.org/datasets/movielens/): titles, years and genres by IMDb id."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from marquee.movies.v1 import movies_pb2

from mesh import tables
from mesh.names import movie_name
from mesh.tables import PassedOver
from movie_svc import titles
from movie_svc.omdb import fields
from movie_svc.omdb.text import printable
from movie_svc.storing import records

_YEARS_RE: Final = re.compile(r"(.+?)\s*\(([^()]+)\)")
_NUMBER_RE: Final = re.compile(r"(?:tt)?0*([1-9]\d{0,8})", re.ASCII)
_MAX_TITLE: Final = 500
_ALSO_RE: Final = re.compile(r"(.+?)\s+\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_AKA_RE: Final = re.compile(r"a\.?k\.?a\.?\s+", re.IGNORECASE)
# MovieLens' names for what OMDb calls otherwise, and what is not a genre.
_GENRES: Final = {"Children": "Family", "(no genres listed)": "", "IMAX": ""}


def rows(movies: Path, passed: PassedOver) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of `movies.csv` (movieId, title, genres), each with its number.

    Raises:
        TableError: a column is missing.
    """
    return tables.rows(movies, ("movieId", "title", "genres"), passed)


def numbers(links: Path, passed: PassedOver) -> dict[str, int]:
    """The movie's number of each `movieId` that has one.

    Raises:
        TableError: a column is missing.
    """
    found = {}
    for line, row in tables.rows(links, ("movieId", "imdbId"), passed):
        number = _NUMBER_RE.fullmatch(row["imdbId"])
        if number is not None:
            found[row["movieId"]] = int(number[1])
        elif row["imdbId"]:
            passed.add(links, line, f"imdbId {row['imdbId']!r} is not an IMDb id")
    return found


def record(number: int, text: str, genres: str, now: datetime) -> records.MovieRecord:
    """The record of one line: `Matrix, The (1999)`, `Action|Sci-Fi|Thriller`.

    OMDb's full answer is wanted as soon as there is time.

    Raises:
        ValueError: it has no title.
    """
    movie = movies_pb2.Movie(name=movie_name(number), type=movies_pb2.MOVIE_TYPE_MOVIE)
    title = _dated(movie, printable(text))
    title, also = _other_titles(title)
    movie.title = titles.display(title)
    if not 1 <= len(movie.title) <= _MAX_TITLE:
        raise ValueError(f"its title has {len(movie.title)} characters; 1 to {_MAX_TITLE} are allowed")
    named = (_GENRES.get(genre, genre) for genre in map(str.strip, printable(genres).split("|")))
    movie.genres.extend(genre for genre in named if genre)
    return records.make(movie, movies_pb2.SOURCE_CATALOGUE, now, now, names=also)


def _dated(movie: movies_pb2.Movie, text: str) -> str:
    """Reads the years behind a title, `(1999)`, `(2006–2007)` or `(2011–)`; returns the title before them."""
    found = _YEARS_RE.fullmatch(text)
    if found is None:
        return text
    try:
        first, last, ongoing = fields.years(found[2].strip())
    except ValueError:
        return text
    movie.year, movie.ongoing = first, ongoing
    if last is not None:
        movie.end_year = last
    if ongoing or last is not None:
        movie.type = movies_pb2.MOVIE_TYPE_SERIES
    return found[1]


def _other_titles(title: str) -> tuple[str, list[str]]:
    """`Killer, The (a.k.a. X) (Die xue shuang xiong)` → the title, and all others."""
    also: list[str] = []
    while (found := _ALSO_RE.fullmatch(title)) and not found[1].endswith(" Or"):
        title = found[1]
        also.append(titles.display(_AKA_RE.sub("", found[2]).strip()))
    return title, [name for name in also if name]
