"""How examples are made in all tests: no time limit, which a busy machine breaks."""

import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@given(st.just(0.25))
@settings(max_examples=1)
def test_an_example_that_takes_longer_than_hypothesis_default_is_no_failure(seconds: float) -> None:
    time.sleep(seconds)


def test_slowly_made_examples_are_no_failure() -> None:
    assert HealthCheck.too_slow in settings().suppress_health_check
