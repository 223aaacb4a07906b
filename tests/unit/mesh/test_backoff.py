"""Pauses grow up to a bound, are spread by chance, and begin again once it worked."""

from mesh.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_each_is_shortened_by_half_at_most() -> None:
    backoff = Backoff(first_s=1, most_s=6)
    for whole in (1, 2, 4, 6, 6):
        assert whole / 2 <= backoff.pause_s() <= whole


def test_those_who_fail_together_do_not_return_together() -> None:
    assert len({Backoff().pause_s() for _ in range(20)}) > 1


def test_after_a_success_the_shortest_pause_is_next() -> None:
    backoff = Backoff(first_s=1, most_s=60)
    for _ in range(5):
        backoff.pause_s()
    backoff.reset()
    assert backoff.pause_s() <= 1
