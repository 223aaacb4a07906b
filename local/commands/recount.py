"""The chart recounted from the data in plain Python, to hold the mesh's answer against.

Nothing here is shared with ranking_svc: only the formula that the answer
publishes (`weighted = (total + m·C) / (votes + m)`) and the order that the API
promises: weighted score, then votes, then the movie's id.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from local.commands.movielens import Rating

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One movie of the recount."""

    movie: str
    votes: int
    mean: float
    weighted: float


def histograms(ratings: Iterable[Rating]) -> dict[str, list[int]]:
    """How often each movie was given 1, 2, … 10; of a user who rated it twice, the last counts."""
    last = {(rating.user, rating.movie): rating.score for rating in ratings}
    found: dict[str, list[int]] = defaultdict(lambda: [0] * 10)
    for (_, movie), score in last.items():
        found[movie][score - 1] += 1
    return dict(found)


def top_rated(ratings: Iterable[Rating], prior_votes: float, prior_mean: float) -> list[Row]:
    """The whole chart."""
    rows = []
    for movie, histogram in histograms(ratings).items():
        votes = sum(histogram)
        total = sum(score * count for score, count in enumerate(histogram, start=1))
        weighted = (total + prior_votes * prior_mean) / (votes + prior_votes)
        rows.append(Row(movie, votes, total / votes, weighted))
    return sorted(rows, key=lambda row: (-row.weighted, -row.votes, int(row.movie[2:])))


def mean(ratings: Iterable[Rating]) -> float:
    """The mean of all ratings: what C must be."""
    totals = [0] * 10
    for histogram in histograms(ratings).values():
        totals = [a + b for a, b in zip(totals, histogram, strict=True)]
    return sum(score * count for score, count in enumerate(totals, start=1)) / sum(totals)


def differences(entries: Sequence[dict[str, Any]], expected: Sequence[Row]) -> list[str]:
    """What a chart from the edge has wrong, in words; empty if it is the recount's, order included."""
    wrong = []
    if len(entries) != len(expected):
        wrong.append(f"the chart has {len(entries)} movies, the recount {len(expected)}")
    for place, (entry, row) in enumerate(zip(entries, expected, strict=False), start=1):
        movie = entry["movie"].removeprefix("movies/")
        if (movie, entry["rank"], entry["votes"]) != (row.movie, place, row.votes):
            wrong.append(
                f"place {place}: the chart has {movie} as {entry['rank']} with {entry['votes']} votes, "
                f"the recount {row.movie} with {row.votes}"
            )
        elif abs(entry["mean"] - row.mean) > _TOLERANCE or abs(entry["weighted"] - row.weighted) > _TOLERANCE:
            wrong.append(
                f"{movie}: the chart says {entry['weighted']} of mean {entry['mean']}, "
                f"the recount {row.weighted} of mean {row.mean}"
            )
    return wrong
