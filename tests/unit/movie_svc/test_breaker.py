"""The circuit breaker: opens when too much fails, probes with one call, closes by itself."""

import pytest

from movie_svc.config import OmdbConfig
from movie_svc.omdb.breaker import Breaker
from tests.support.clock import Clock

CONFIG = OmdbConfig(
    breaker_failures=0.5,
    breaker_calls=4,
    breaker_window_s=10,
    breaker_pause_s=2,
    breaker_max_pause_s=8,
    deadline_s=3,
)


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(CONFIG, clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.failure("down")


def test_it_opens_when_half_of_the_calls_fail(breaker: Breaker) -> None:
    for _ in range(3):
        assert breaker.admit()
        breaker.success()
    fail(breaker, 2)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert not breaker.admit()
    assert breaker.reason == "down"
    assert 0 < breaker.wait_s() <= 2 * 1.2


def test_few_failures_do_not_open_it(breaker: Breaker) -> None:
    fail(breaker, 3)
    assert breaker.admit()


def test_failures_of_long_ago_do_not_count(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 11
    fail(breaker, 3)
    assert not breaker.is_open


def test_one_call_probes_and_its_success_closes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    clock.now += 2 * 1.2
    assert breaker.admit()
    assert not breaker.admit(), "a second call must not go while the first one probes"
    breaker.success()
    assert breaker.admit()
    assert breaker.admit()
    assert not breaker.is_open


def test_its_state_is_told_to_people(breaker: Breaker, clock: Clock) -> None:
    assert breaker.state == "breaker closed"
    fail(breaker, 4)
    assert breaker.state.startswith("breaker open: not asked for ")
    assert breaker.state.endswith("because of: down")
    clock.now += 2 * 1.2
    assert breaker.state.startswith("breaker half open: the next call probes")
    assert breaker.admit()
    assert breaker.state.startswith("breaker half open: one call probes")
    breaker.success()
    assert breaker.state == "breaker closed"


def test_a_failed_probe_opens_it_for_longer_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    pauses = []
    for _ in range(5):
        pauses.append(breaker.wait_s())
        clock.now += breaker.wait_s()
        assert breaker.admit()
        breaker.failure("down")
    assert pauses[1] > pauses[0]
    assert pauses[2] > pauses[1]
    assert max(pauses) <= 8 * 1.2


def test_a_probe_that_never_ends_is_replaced(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    clock.now += 2 * 1.2
    assert breaker.admit()
    clock.now += CONFIG.deadline_s
    assert breaker.admit()


def test_a_probe_that_did_not_come_about_gives_its_place_back(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 4)
    clock.now += 2 * 1.2
    assert breaker.admit()
    breaker.neither()
    assert breaker.admit()


def test_a_refused_key_opens_it_at_once(breaker: Breaker) -> None:
    assert breaker.admit()
    breaker.trip("limited", 300, longest_s=3600)
    assert breaker.wait_s() >= 300 * 0.8
    assert breaker.reason == "limited"
