"""Heat: votes that fade."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_svc.trending import COLD, DAY_S, HALF_LIVES_S, heat, log_heat, log_heat_of

NOW = 1_750_000_000.0

ages = st.lists(st.floats(0, 60 * DAY_S), min_size=1, max_size=50)
half_lives = st.sampled_from(HALF_LIVES_S)


def times(of: list[float]) -> list[float]:
    return [NOW - age for age in of]


@given(ages, half_lives)
def test_heat_is_the_sum_of_votes_that_halve_with_each_half_life(of: list[float], half_life: float) -> None:
    expected = math.fsum(2 ** (-age / half_life) for age in of)
    assert heat(log_heat(times(of), half_life), half_life, NOW) == pytest.approx(expected, rel=1e-6)


def test_a_vote_weighs_half_after_one_half_life() -> None:
    for half_life in HALF_LIVES_S:
        assert heat(log_heat([NOW], half_life), half_life, NOW + half_life) == pytest.approx(0.5)


@given(ages, ages, half_lives, st.floats(0, 10 * DAY_S))
def test_time_alone_never_changes_the_order(
    one: list[float], other: list[float], half_life: float, later: float
) -> None:
    stored = [log_heat(times(of), half_life) for of in (one, other)]
    now, then = ([heat(x, half_life, at) for x in stored] for at in (NOW, NOW + later))
    if stored[0] > stored[1]:
        assert now[0] >= now[1]
        assert then[0] >= then[1]


@given(st.floats(0.001, 1e6), half_lives)
def test_log_heat_of_is_the_inverse_of_heat(value: float, half_life: float) -> None:
    assert heat(log_heat_of(value, half_life, NOW), half_life, NOW) == pytest.approx(value, rel=1e-6)


def test_nothing_is_cold_and_very_old_votes_are_as_good_as_nothing() -> None:
    assert log_heat([], DAY_S) == COLD
    assert heat(COLD, DAY_S, NOW) == 0
    assert heat(log_heat([0.0], DAY_S), DAY_S, NOW) == 0
    # As in the database, which has no numbers as small as these.
    assert [heat(log, DAY_S, 0) for log in (-1000.0, -1001.0)] == [0, 0]
    assert heat(-999.0, DAY_S, 0) > 0
    assert log_heat([0.0, NOW], DAY_S) == pytest.approx(log_heat([NOW], DAY_S))
