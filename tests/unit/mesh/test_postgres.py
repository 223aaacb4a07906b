"""Which database server a read goes to."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.kept import Kept
from mesh.lag import Lag, Positions, Server
from mesh.postgres import Postgres, PostgresConfig, _Node

CONFIG = PostgresConfig(primary="postgresql://primary", replicas=("a", "b", "c"), max_lag_s=2.0)
GRACE_S = 1.0


class Ages:
    def __init__(self, *samples: tuple[float, int]) -> None:
        self.positions = Positions()
        for at, position in samples:
            self.positions.add(at, position)

    def age_of(self, position: int, now: float) -> float | None:
        return self.positions.age_of(position, now, GRACE_S)


ages = Ages


def test_a_replica_that_has_everything_is_not_behind() -> None:
    assert ages((1.0, 100), (2.0, 200)).age_of(200, now=3.0) == 0.0
    assert ages((1.0, 100), (2.0, 200)).age_of(250, now=3.0) == 0.0


def test_not_hearing_from_the_primary_is_not_being_up_to_date() -> None:
    assert ages((1.0, 100), (2.0, 200)).age_of(200, now=9.0) == 7.0


def test_a_primary_that_begins_behind_is_another_history() -> None:
    """After a failover: what the old one wrote and nobody took over will never be reached."""
    assert ages((1.0, 100), (2.0, 900), (3.0, 300)).age_of(300, now=3.5) == 0.0


def test_a_replica_is_behind_since_the_first_position_that_it_lacks() -> None:
    positions = ages((1.0, 100), (2.0, 200), (3.0, 300))
    assert positions.age_of(150, now=5.0) == 3.0
    assert positions.age_of(200, now=5.0) == 2.0
    assert positions.age_of(0, now=5.0) == 4.0


def test_an_idle_primary_does_not_make_replicas_old() -> None:
    assert ages((1.0, 100), (500.0, 100)).age_of(100, now=500.5) == 0.0


def test_an_idle_primary_makes_no_late_replica_young() -> None:
    assert ages((1.0, 100), (2.0, 200), (3.0, 200), (4.0, 200)).age_of(150, now=4.5) == 2.5


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


def order(*lags: float | None, times: int = 1, primary: bool = True) -> list[list[str]]:
    """The order of servers of several reads, with replicas that are so many seconds behind; None: down."""
    postgres = object.__new__(Postgres)
    pool: Any = None
    now = time.monotonic()
    servers = [
        Server(name, "", answers=lag is not None, position=ord(name), measured_at=now, lag_s=lag)
        for name, lag in zip("abc", lags, strict=True)
    ]
    postgres._config = CONFIG
    postgres._primary = _Node(Server("primary", ""), pool, Kept(pool, 8))
    postgres._replicas = [_Node(server, pool, Kept(pool, 8)) for server in servers]
    postgres._lag = Lag(postgres._primary.server, servers, 60, 1, 0)
    postgres._primary.server.answers = primary
    postgres._turn = 0
    return [[node.label for node in postgres._order()] for _ in range(times)]


def test_reads_take_turns_among_good_replicas_with_the_primary_behind_them() -> None:
    orders = order(0.0, 0.1, 2.0, times=6)
    assert sorted({first for first, *_ in orders}) == ["a", "b", "c"]
    assert all(servers[-1] == "primary" for servers in orders)
    assert {first for first, *_ in order(0.0, 0.1, None, times=2)} == {"a", "b"}


def test_a_replica_that_is_down_is_not_asked() -> None:
    for servers in order(0.0, None, None, times=3):
        assert servers == ["a", "primary"]


def test_a_replica_that_is_late_is_asked_only_when_nothing_else_is_left() -> None:
    for servers in order(0.0, 2.1, None, times=3):
        assert servers == ["a", "primary", "b"]


def test_without_good_replicas_the_primary_is_asked() -> None:
    assert order(None, None, None) == [["primary"]]
    assert order(9.0, None, None) == [["primary", "a"]]


def test_nobody_waits_for_a_primary_that_is_away_where_a_late_replica_answers() -> None:
    assert order(9.0, 8.0, None, primary=False) == [["b", "a", "primary"]]


def test_a_measurement_that_is_overdue_makes_nobody_younger() -> None:
    lag = Lag(Server("primary", ""), [Server("a", "")], interval_s=0.5, timeout_s=1, statements=0)
    replica = Server("a", "", answers=True, measured_at=100.0, lag_s=0.5)
    assert lag.age(replica, now=100.9) == 0.5
    assert lag.age(replica, now=101.1) == pytest.approx(1.6)
    assert lag.age(replica, now=108.0) == 8.5


def test_the_age_of_what_does_not_answer_or_was_never_measured_is_not_known() -> None:
    lag = Lag(Server("primary", ""), [Server("a", "")], interval_s=0.5, timeout_s=1, statements=0)
    assert lag.age(Server("a", "", answers=False, measured_at=100.0, lag_s=0.5), now=100.1) is None
    assert lag.age(Server("a", "", answers=True, measured_at=100.0, lag_s=None), now=100.1) is None


def test_a_promoted_replica_has_a_history_of_its_own_while_another_server_is_the_primary() -> None:
    primary, promoted = Server("primary", "", timeline="00000001"), Server("a", "", timeline="00000002")
    lag = Lag(primary, [promoted], interval_s=0.5, timeout_s=1, statements=0)
    lag._positions.add(100.0, 7)
    promoted.answers, promoted.measured_at, promoted.position = True, 100.0, 900
    assert lag._measured(promoted) is None
    primary.answers = False
    assert lag._measured(promoted) == 0.0
