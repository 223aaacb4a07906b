"""Ratings to load: MovieLens' `ml-latest-small` (https://grouplens.org/datasets/movielens/), or a sample.

MovieLens' half-stars, doubled, are Marquee's scores from 1 to 10.
"""

import os
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.stack.layout import StackError, checkout
from mesh import names, tables
from mesh.tables import PassedOver, TableError

_IMDB_RE: Final = re.compile(r"(?:tt)?0*([1-9]\d{0,8})", re.ASCII)
_STARS_RE: Final = re.compile(r"[0-5](?:\.[05]0*)?", re.ASCII)
_TIME_RE: Final = re.compile(r"\d{1,11}", re.ASCII)
_SAMPLE_USERS: Final = 60
_SAMPLE_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Rating:
    """One line of the data."""

    user: str
    movie: str
    """IMDb id, such as tt0114709."""
    score: int
    """1 to 10."""
    time: int
    """When it was given, in seconds since the epoch."""


@dataclass(frozen=True)
class Dataset:
    """Ratings, each user's in the order in which they were given."""

    name: str
    ratings: Sequence[Rating]
    folder: Path | None
    """Where `movies.csv` and `links.csv` lie; None for the sample."""

    def by_user(self) -> dict[str, list[Rating]]:
        """The ratings of each user, in order; the users with the most first."""
        found: dict[str, list[Rating]] = defaultdict(list)
        for rating in self.ratings:
            found[rating.user].append(rating)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def data_folder() -> Path:
    """Where data for demos and tests lie: MARQUEE_DATA, or `../shared/data` beside the checkout."""
    given = os.environ.get("MARQUEE_DATA")
    return Path(given) if given else checkout().parent / "shared" / "data"


def omdb_answers() -> Path | None:
    """The recorded OMDb answers in the data folder, one a line; None if there are none."""
    path = data_folder() / "omdb" / "answers.jsonl"
    return path.resolve() if path.is_file() else None


def open_dataset(given: Path | None, limit: int = 0, passed: PassedOver | None = None) -> Dataset:
    """Reads the folder `given`, or the one in the data folder; the sample where there is neither.

    `limit` keeps only so many ratings, the oldest. Lines that are no ratings go to `passed`.

    Raises:
        StackError: `given` does not hold MovieLens' files.
    """
    folder = _find(given)
    try:
        dataset = _read(folder, passed or PassedOver(print)) if folder else _sample()
    except TableError as error:
        raise StackError(str(error)) from None
    if not limit:
        return dataset
    return Dataset(f"the oldest {limit:,} of {dataset.name}", dataset.ratings[:limit], dataset.folder)


def sample_films() -> list[dict[str, object]]:
    """OMDb's answers on the films of the sample."""
    from local.omdb_simulator import films

    return [body for body in films.bodies() if body["Type"] == "movie"]


def _find(given: Path | None) -> Path | None:
    base = given or data_folder()
    for folder in (base, base / "movielens", base / "ml-latest-small"):
        if all((folder / name).is_file() for name in ("ratings.csv", "movies.csv", "links.csv")):
            return folder
    if given:
        raise StackError(
            f"{given} does not hold ratings.csv, movies.csv and links.csv of MovieLens: name another folder"
        )
    return None


def _read(folder: Path, passed: PassedOver) -> Dataset:
    movies = _movies(folder / "links.csv")
    path, ratings = folder / "ratings.csv", []
    for line, row in tables.rows(path, ("userId", "movieId", "rating", "timestamp"), passed):
        try:
            ratings.append(_rating(row, movies))
        except ValueError as error:
            passed.add(path, line, str(error))
    ratings.sort(key=lambda rating: rating.time)
    return Dataset(f"{len(ratings):,} MovieLens ratings", ratings, folder)


def _movies(links: Path) -> dict[str, str]:
    """The IMDb id of each `movieId`. What movie_svc's import tells of this file is not told again here."""
    silent = PassedOver(lambda _text: None)
    found = {}
    for _, row in tables.rows(links, ("movieId", "imdbId"), silent):
        if number := _IMDB_RE.fullmatch(row["imdbId"]):
            found[row["movieId"]] = f"tt{int(number[1]):07d}"
    return found


def _rating(row: Mapping[str, str], movies: Mapping[str, str]) -> Rating:
    """Reads one line of `ratings.csv`.

    Raises:
        ValueError: it is no rating.
    """
    user, stars, when = f"ml-{row['userId']}", row["rating"], row["timestamp"]
    if not row["userId"] or not names.is_user(user):
        raise ValueError(f"userId {row['userId']!r} is not a user")
    if row["movieId"] not in movies:
        raise ValueError(f"movieId {row['movieId']!r} has no IMDb id in links.csv")
    if not _STARS_RE.fullmatch(stars) or not 1 <= float(stars) * 2 <= 10:
        raise ValueError(f"rating {stars!r} is not 0.5, 1.0, … 5.0")
    if not _TIME_RE.fullmatch(when):
        raise ValueError(f"timestamp {when!r} is not in seconds since 1970")
    return Rating(user, movies[row["movieId"]], round(float(stars) * 2), int(when))


def _sample() -> Dataset:
    """Made-up users who rate the films that the OMDb simulator knows, around their real IMDb means."""
    chance = random.Random(1894)  # noqa: S311 - the same sample each time
    known = [body for body in sample_films() if body["imdbRating"] != "N/A"]
    ratings: list[Rating] = []
    for user in range(1, _SAMPLE_USERS + 1):
        for body in known:
            if chance.random() < _SAMPLE_SHARE:
                score = min(10, max(1, round(chance.gauss(float(str(body["imdbRating"])) - 1, 1.8))))
                ratings.append(Rating(f"sample-{user}", str(body["imdbID"]), score, len(ratings)))
    return Dataset(f"{len(ratings):,} made-up ratings (no MovieLens data here)", ratings, None)
