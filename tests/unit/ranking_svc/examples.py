"""Made-up movies for the tests of rankings, and the plain way to chart them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from ranking_svc.chart import Chart
from ranking_svc.formula import Formula
from ranking_svc.model import Facts, Tally
from ranking_svc.trending import log_heats

FORMULA = Formula(1, 20.0, 7.0)
GENRES = ("Drama", "Comedy", "Film-Noir")
NOW = 1_750_000_000.0


def tally(movie: int, histogram: Sequence[int], changed: int = 1, at: float = NOW) -> Tally:
    """An aggregate whose votes all came at `at`."""
    votes = sum(histogram)
    total = sum(score * count for score, count in enumerate(histogram, 1))
    day, week, month = log_heats([at] * votes)
    return Tally(movie, votes, total, tuple(histogram), (day, week, month), at, changed)


def scored(movie: int, *scores: int, changed: int = 1, at: float = NOW) -> Tally:
    """An aggregate of these scores."""
    return tally(movie, [scores.count(score) for score in range(1, 11)], changed, at)


def facts(movie: int, changed: int = 1, **known: object) -> Facts:
    """Facts of a drama of 1994, except what is `known`."""
    made = Facts(movie, f"Movie {movie}", 1994, 1, ("Drama",), None, changed)
    return replace(made, **known)  # type: ignore[arg-type]


def chart_of(
    known: Iterable[Tally | Facts], formula: Formula = FORMULA, variants: Mapping[str, float] | None = None
) -> Chart:
    """A chart to which everything was added one by one."""
    chart = Chart(formula, variants)
    for one in known:
        if isinstance(one, Tally):
            chart.put_tally(one)
        else:
            chart.put_facts(one)
    return chart


movies = st.integers(1, 12)
histograms = st.lists(st.integers(0, 3), min_size=10, max_size=10)
tallies = st.builds(tally, movies, histograms, st.integers(1, 50), st.floats(NOW - 1e6, NOW))
some_facts = st.builds(
    Facts,
    movies,
    st.text(max_size=5),
    st.none() | st.sampled_from([1989, 1990, 1999, 2000]),
    st.sampled_from([0, 1, 2]),
    st.lists(st.sampled_from(GENRES), unique=True).map(tuple),
    st.none() | st.integers(0, 3),
    st.integers(1, 50),
)
news = st.lists(
    tallies | some_facts, max_size=40, unique_by=lambda one: (type(one).__name__, one.movie, one.changed)
)
