"""The weighted score and the order of charts."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_svc.formula import Formula, key, key_behind, movie_of

votes = st.integers(1, 2**31 - 1)
movies = st.integers(1, 999_999_999)


@st.composite
def rated(draw: st.DrawFn) -> tuple[int, int]:
    """(total, votes) of a movie: each vote is 1 to 10."""
    count = draw(votes)
    return draw(st.integers(count, 10 * count)), count


@given(rated(), st.floats(0.1, 1e6), st.floats(1, 10))
def test_weighted_is_the_published_formula(movie: tuple[int, int], m: float, c: float) -> None:
    total, v = movie
    mean = Fraction(total, v)
    exact = v / (v + Fraction(m)) * mean + Fraction(m) / (v + Fraction(m)) * Fraction(c)
    assert Formula(1, m, c).weighted(total, v) == pytest.approx(float(exact), rel=1e-12)


@given(rated(), st.floats(1, 10))
def test_weighted_lies_between_the_movies_mean_and_the_mean_of_all(movie: tuple[int, int], c: float) -> None:
    total, v = movie
    low, high = sorted((total / v, c))
    assert low - 1e-9 <= Formula(1, 20.0, c).weighted(total, v) <= high + 1e-9


def test_a_single_ten_does_not_beat_a_long_row_of_nines() -> None:
    formula = Formula(1, 20.0, 7.0)
    assert formula.weighted(10, 1) < formula.weighted(9 * 300, 300)


@given(
    st.lists(
        st.tuples(st.sampled_from([6.5, 7.0, 7.25]), st.integers(1, 4), movies), unique_by=lambda m: m[2]
    )
)
def test_ties_go_to_more_votes_then_to_the_smaller_number(listed: list[tuple[float, int, int]]) -> None:
    expected = sorted(listed, key=lambda m: (-m[0], -m[1], m[2]))
    assert sorted(listed, key=lambda m: key(*m)) == expected


@given(st.floats(-1e9, 1e9), st.integers(0, 2**31 - 1), movies)
def test_a_key_knows_its_movie(value: float, count: int, movie: int) -> None:
    assert movie_of(key(value, count, movie)) == movie


@given(st.floats(-1e9, 1e9), st.integers(0, 2**31 - 1), movies, st.integers(0, 2**31 - 1), movies)
def test_behind_a_value_stands_what_is_worse_and_nothing_else(
    value: float, count: int, movie: int, other_count: int, other: int
) -> None:
    worse = math.nextafter(value, -math.inf)
    assert key(value, count, movie) < key_behind(value) < key(worse, other_count, other)
