"""Which database server a read goes to."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh.postgres import Postgres, PostgresConfig, _Node, _Positions

CONFIG = PostgresConfig(primary="postgresql://primary", replicas=("a", "b", "c"), max_lag_s=2.0)


def ages(*samples: tuple[float, int]) -> _Positions:
    positions = _Positions()
    positions.samples.extend(samples)
    return positions


def test_a_replica_that_has_everything_is_not_behind() -> None:
    assert ages((1.0, 100), (2.0, 200)).age_of(200, now=9.0) == 0.0
    assert ages((1.0, 100), (2.0, 200)).age_of(250, now=9.0) == 0.0


def test_a_replica_is_behind_since_the_first_position_that_it_lacks() -> None:
    positions = ages((1.0, 100), (2.0, 200), (3.0, 300))
    assert positions.age_of(150, now=5.0) == 3.0
    assert positions.age_of(200, now=5.0) == 2.0
    assert positions.age_of(0, now=5.0) == 4.0


def test_an_idle_primary_does_not_make_replicas_old() -> None:
    assert ages((1.0, 100), (500.0, 100)).age_of(100, now=1000.0) == 0.0


def test_before_the_first_sample_nothing_is_known() -> None:
    assert ages().age_of(100, now=5.0) is None


@given(st.lists(st.integers(0, 10), min_size=1, max_size=20), st.integers(0, 200))
def test_who_has_replayed_more_is_never_older(steps: list[int], lsn: int) -> None:
    at, samples = 0, []
    for second, step in enumerate(steps):
        at += step
        samples.append((float(second), at))
    positions, now = ages(*samples), float(len(steps))
    one, other = positions.age_of(lsn, now), positions.age_of(lsn + 1, now)
    assert one is not None
    assert other is not None
    assert one >= other


def order(*lags: float | None, times: int = 1) -> list[list[str]]:
    """The order of servers of several reads, with replicas that are so many seconds behind; None: down."""
    postgres = object.__new__(Postgres)
    pool: Any = None
    postgres._config = CONFIG
    postgres._primary = _Node("primary", pool)
    postgres._replicas = [_Node(name, pool, lag) for name, lag in zip("abc", lags, strict=True)]
    postgres._turn = 0
    return [[node.label for node in postgres._order()] for _ in range(times)]


def test_reads_take_turns_among_good_replicas_with_the_primary_behind_them() -> None:
    orders = order(0.0, 0.1, 2.0, times=6)
    assert sorted({first for first, *_ in orders}) == ["a", "b", "c"]
    assert all(servers[-1] == "primary" for servers in orders)


def test_a_replica_that_is_down_is_not_asked() -> None:
    for servers in order(0.0, None, None, times=3):
        assert servers == ["a", "primary"]


def test_a_replica_that_is_late_is_asked_only_when_nothing_else_is_left() -> None:
    for servers in order(0.0, 2.1, None, times=3):
        assert servers == ["a", "primary", "b"]


def test_without_good_replicas_the_primary_is_asked() -> None:
    assert order(None, None, None) == [["primary"]]
    assert order(9.0, None, None) == [["primary", "a"]]
