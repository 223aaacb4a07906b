"""The charts of 100,836 real ratings, compared with a computation that shares no code with them."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranking_svc.model import Change
from ranking_svc.rebuild import Rebuilder
from tests.support.rankings import FORMULA, Place

DATA = Path(os.environ.get("MARQUEE_DATA") or Path(__file__).parents[4] / "shared" / "data") / "movielens"

pytestmark = pytest.mark.skipif(
    not (DATA / "ratings.csv").exists(),
    reason="MovieLens' ml-latest-small is not there: set MARQUEE_DATA to the folder that holds movielens/",
)


def rows() -> Iterator[tuple[int, int, int]]:
    """(movie, score, time) of every rating."""
    with (DATA / "links.csv").open() as file:
        imdb = {row["movieId"]: int(row["imdbId"]) for row in csv.DictReader(file)}
    with (DATA / "ratings.csv").open() as file:
        for row in csv.DictReader(file):
            yield imdb[row["movieId"]], int(float(row["rating"]) * 2), int(row["timestamp"])


def independent_chart() -> list[tuple[int, int, float]]:
    """(movie, votes, weighted) of all movies, by the published formula."""
    scores: dict[int, list[int]] = {}
    for movie, score, _ in rows():
        scores.setdefault(movie, []).append(score)
    everything = [score for of in scores.values() for score in of]
    mean, prior = sum(everything) / len(everything), FORMULA.prior_votes
    chart = [(movie, len(of), (sum(of) + prior * mean) / (len(of) + prior)) for movie, of in scores.items()]
    return sorted(chart, key=lambda line: (-line[2], -line[1], line[0]))


async def test_the_chart_of_movielens_is_the_independent_one(place: Place) -> None:
    changes = [Change(number, movie, None, score, at) for number, (movie, score, at) in enumerate(rows(), 1)]
    assert len(changes) == 100_836
    async with place.aggregating(batch=1000):
        await place.send(changes)
        await place.counted(timeout_s=240)
    chart, _ = await Rebuilder(place.store, place.feed(), place.nudges, FORMULA).rebuild()
    entries = chart.entries(chart.orders.top_rated.after(None))
    got = [(entry.movie, entry.votes, chart.weighted(entry)) for entry in entries]
    expected = independent_chart()
    assert got[:50] == expected[:50]
    assert got == expected
    assert got[0][0] == 111161
