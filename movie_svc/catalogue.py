"""MovieLens' catalogue (https://grouplens.org/datasets/movielens/): titles, years and genres by IMDb id."""

import csv
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from marquee.movies.v1 import movies_pb2

from mesh.names import movie_name
from movie_svc import records, titles

_YEAR_RE: Final = re.compile(r"(.+?)\s*\((\d{4})(?:[–-](\d{4})?)?\)\s*")
_ALSO_RE: Final = re.compile(r"(.+?)\s+\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_AKA_RE: Final = re.compile(r"a\.?k\.?a\.?\s+", re.IGNORECASE)
# MovieLens' names for what OMDb calls otherwise, and what is not a genre.
_GENRES: Final = {"Children": "Family", "(no genres listed)": "", "IMAX": ""}


def rows(movies: Path) -> Iterator[dict[str, str]]:
    """The lines of `movies.csv`: movieId, title, genres.

    Raises:
        ValueError: a column is missing.
    """
    with movies.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        _require(reader, movies, "movieId", "title", "genres")
        yield from reader


def numbers(links: Path) -> dict[str, int]:
    """The movie's number of each `movieId`.

    Raises:
        ValueError: a column is missing.
    """
    with links.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        _require(reader, links, "movieId", "imdbId")
        return {row["movieId"]: int(row["imdbId"]) for row in reader if row["imdbId"].isdigit()}


def record(number: int, text: str, genres: str, now: datetime) -> records.Record:
    """The record of one line: `Matrix, The (1999)`, `Action|Sci-Fi|Thriller`.

    OMDb's full answer is wanted as soon as there is time.
    """
    movie = movies_pb2.Movie(name=movie_name(number), type=movies_pb2.MOVIE_TYPE_MOVIE)
    title = text.strip()
    if found := _YEAR_RE.fullmatch(title):
        title = found[1]
        movie.year = int(found[2])
        if found[3]:
            movie.end_year = int(found[3])
            movie.type = movies_pb2.MOVIE_TYPE_SERIES
    title, also = _other_titles(title)
    movie.title = titles.display(title)
    named = (_GENRES.get(genre, genre) for genre in genres.split("|"))
    movie.genres.extend(genre for genre in named if genre)
    return records.make(movie, movies_pb2.SOURCE_CATALOGUE, now, now, also_called=also)


def _other_titles(title: str) -> tuple[str, str]:
    """`Killer, The (a.k.a. X) (Die xue shuang xiong)` → the title, and all others in one text."""
    also: list[str] = []
    while (found := _ALSO_RE.fullmatch(title)) and not found[1].endswith(" Or"):
        title = found[1]
        also.append(_AKA_RE.sub("", found[2]))
    return title, " ".join(also)


def _require(reader: "csv.DictReader[str]", path: Path, *columns: str) -> None:
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}")
