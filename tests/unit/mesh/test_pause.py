"""What failed is left alone for a while, and asked again at once where it is known to be back."""

import logging

import pytest

from mesh.pause import Pause


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock; its one item can be set."""
    now = [100.0]
    monkeypatch.setattr("mesh.pause.time.monotonic", lambda: now[0])
    return now


def test_it_is_left_alone_for_its_time_after_the_last_failure(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    resting = Pause("Redis", 2.0)
    assert not resting.on
    with caplog.at_level(logging.WARNING):
        resting.begin(TimeoutError("no answer"))
        clock[0] += 1.5
        resting.begin("again")
    assert [record.getMessage() for record in caplog.records] == [
        "Redis is away (TimeoutError: no answer); it is left alone for 2 s"
    ]
    clock[0] += 1.5
    assert resting.on
    clock[0] += 1.0
    assert not resting.on


def test_it_is_asked_at_once_where_it_is_known_to_be_back(clock: list[float]) -> None:
    resting = Pause("Redis", 2.0)
    resting.begin("gone")
    resting.end()
    assert not resting.on
