"""What is asked for again: nothing is missed, and little comes twice."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ranking_svc.horizon import TRANSACTION_TIMEOUT_S, Horizon, State

NOW = 1_750_000_000.0


def state(xmin: int, xmax: int, at: float = NOW) -> State:
    return State(1, xmin, xmax, at, at)


def asked(horizon: Horizon, transaction: int) -> bool:
    return transaction >= horizon.start and transaction not in horizon.seen


def test_what_ended_is_not_asked_for_again_and_what_is_under_way_is() -> None:
    horizon = Horizon(state(10, 10))
    assert horizon.life == 1
    horizon.took(state(12, 15), [10, 11, 13])
    assert not any(asked(horizon, one) for one in (10, 11, 13))
    assert all(asked(horizon, one) for one in (12, 14, 15, 16))


def test_a_transaction_of_others_that_runs_for_hours_keeps_little_to_be_asked_for() -> None:
    horizon = Horizon(state(10, 11))
    for second in range(3600):
        # One transaction of ours every second, and one of somebody's that is under way all the time.
        horizon.took(state(10, 12 + second, NOW + second), [11 + second])
        horizon.took(state(10, 12 + second, NOW + second + 0.5), [])
        assert not any(asked(horizon, one) for one in range(max(11, second - 80), 12 + second))
    assert horizon.start >= 3600 - 2 * TRANSACTION_TIMEOUT_S - 10
    assert len(horizon.seen) < 3 * TRANSACTION_TIMEOUT_S
    assert len(horizon._samples) < 3 * TRANSACTION_TIMEOUT_S, "however often it looks"
    # Nothing is given up that one of ours may still be at.
    assert horizon.start <= 3600 - TRANSACTION_TIMEOUT_S


def test_a_replica_that_stands_still_gives_up_nothing() -> None:
    horizon = Horizon(state(10, 11))
    for second in range(600):
        late = replace(state(10, 12, NOW + second), as_of=NOW)
        horizon.took(late, [])
        horizon.took(replace(late, as_of=None), [])
    assert asked(horizon, 10)


@given(st.data())
def test_no_change_is_missed_whoever_ends_when(data: st.DataObject) -> None:
    """Transactions begin and end in any order, looks fall in anywhere: each is read, and once."""
    begun: list[int] = []
    ended: set[int] = set()
    read: list[int] = []
    horizon = Horizon(state(1, 1))
    for _ in range(data.draw(st.integers(0, 40))):
        under_way = [one for one in begun if one not in ended]
        step = data.draw(st.sampled_from(["begin", "end", "look"]))
        if step == "begin":
            begun.append(len(begun) + 1)
        elif step == "end" and under_way:
            ended.add(data.draw(st.sampled_from(under_way)))
        elif step == "look":
            found = [one for one in ended if asked(horizon, one)]
            read += found
            oldest = min(under_way, default=len(begun) + 1)
            horizon.took(state(oldest, len(begun) + 1), found)
    last = [one for one in begun if asked(horizon, one)]
    assert sorted([*read, *last]) == begun
