"""All of MovieLens through the front door: the chart is what a few lines of Python make of the CSV."""

import csv
import json
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest

from local.commands import admin, chart, demo, movielens
from local.stack.layout import Home
from tests.support.stacks import running

FOLDER = movielens.data_folder() / "movielens"
TOP = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not (FOLDER / "ratings.csv").is_file(), reason="MovieLens is not here (MARQUEE_DATA)"),
]


def top_of_the_csv(m: float) -> list[tuple[str, int, float]]:
    """Movie, votes and weighted score of the best, from the files alone."""
    imdb = {row["movieId"]: row["imdbId"] for row in csv.DictReader((FOLDER / "links.csv").open())}
    scores: dict[int, list[int]] = defaultdict(list)
    for row in csv.DictReader((FOLDER / "ratings.csv").open()):
        scores[int(imdb[row["movieId"]])].append(round(float(row["rating"]) * 2))
    everything = [score for of in scores.values() for score in of]
    c = sum(everything) / len(everything)
    weighted = {movie: (sum(of) + m * c) / (len(of) + m) for movie, of in scores.items()}
    best = sorted(scores, key=lambda movie: (-weighted[movie], -len(scores[movie]), movie))[:TOP]
    return [(f"movies/tt{movie:07d}", len(scores[movie]), weighted[movie]) for movie in best]


def test_the_top_of_movielens_is_that_of_the_csv(tmp_path: Path) -> None:
    with running(Home(tmp_path), []) as stack:
        # Loads one PUT a rating too, waits until all is counted, rebuilds, and compares the whole chart too.
        assert demo.run(stack, FOLDER) == 0
        with urllib.request.urlopen(f"{stack.edge_url}/v1/charts/top-rated?pageSize={TOP}") as answer:
            found = json.load(answer)
        votes = admin.totals(stack).votes
        cut = chart.read(stack, {"pageSize": "10", "minVotes": "100"})
    expected = top_of_the_csv(found["formula"]["priorVotes"])
    entries = [(entry["movie"], entry["votes"], entry["weighted"]) for entry in found["entries"]]
    assert votes == 100_836
    assert [entry["rank"] for entry in found["entries"]] == list(range(1, TOP + 1))
    assert [entry[:2] for entry in entries] == [row[:2] for row in expected]
    assert [entry[2] for entry in entries] == pytest.approx([row[2] for row in expected], abs=1e-12)
    assert all(entry["votes"] >= 100 for entry in cut["entries"])
