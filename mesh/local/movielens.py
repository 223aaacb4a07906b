"""Ratings to load: MovieLens' `ml-latest-small` (https://grouplens.org/datasets/movielens/), or a sample.

MovieLens' half-stars, doubled, are Marquee's scores from 1 to 10.
"""

import csv
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh.local.stack import StackError, checkout

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


def open_dataset(given: Path | None, limit: int = 0) -> Dataset:
    """Reads the folder `given`, or the one in the data folder; the sample where there is neither.

    `limit` keeps only so many ratings, the oldest.

    Raises:
        StackError: `given` does not hold MovieLens' files.
    """
    folder = _find(given)
    dataset = _read(folder) if folder else _sample()
    if not limit:
        return dataset
    return Dataset(f"the oldest {limit:,} of {dataset.name}", dataset.ratings[:limit], dataset.folder)


def sample_films() -> list[dict[str, object]]:
    """OMDb's answers on the films of the sample."""
    from mesh.local.omdb_simulator import films

    return [body for body in films.bodies() if body["Type"] == "movie"]


def _find(given: Path | None) -> Path | None:
    base = given or data_folder()
    for folder in (base, base / "movielens", base / "ml-latest-small"):
        if all((folder / name).is_file() for name in ("ratings.csv", "movies.csv", "links.csv")):
            return folder
    if given:
        raise StackError(f"{given} does not hold ratings.csv, movies.csv and links.csv of MovieLens")
    return None


def _read(folder: Path) -> Dataset:
    with (folder / "links.csv").open(newline="", encoding="utf-8") as file:
        movies = {row["movieId"]: f"tt{int(row['imdbId']):07d}" for row in csv.DictReader(file)}
    with (folder / "ratings.csv").open(newline="", encoding="utf-8") as file:
        ratings = [
            Rating(
                f"ml-{row['userId']}",
                movies[row["movieId"]],
                round(float(row["rating"]) * 2),
                int(row["timestamp"]),
            )
            for row in csv.DictReader(file)
        ]
    ratings.sort(key=lambda rating: rating.time)
    return Dataset(f"{len(ratings):,} MovieLens ratings", ratings, folder)


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
