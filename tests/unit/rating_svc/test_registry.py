"""Which life of the log a place belongs to, and where a user's submissions go."""

import re

import grpc
import pytest

from mesh.errors import MarqueeError
from mesh.kafka import Place
from rating_svc.registry import Life, Registry, family, generation, is_generation, next_name

# The log began with two topics of one name: the first one was deleted under a worker. The second lost the end
# of its partition 3, and then the log grew twice; the worker met its tenth generation before its ninth.
FIRST = Life(1, "log", "a", 4, None)
SECOND = Life(2, "log", "b", 4, None)
CUT = Life(3, "log", "b", 4, 3)
TENTH = Life(4, "log.g10", "d", 64, None)
NINTH = Life(5, "log.g9", "c", 8, None)
EVERY = [NINTH, CUT, TENTH, FIRST, SECOND]


@pytest.mark.parametrize(("user", "expected"), [("ann", 3), ("bob", 0), ("Zo\u00eb", 2)])
def test_a_users_submissions_go_where_they_always_went(user: str, expected: int) -> None:
    """Another partition than with the releases before, and the order of the user's writes is lost."""
    assert SECOND.partition_of(user) == expected


def test_the_newest_topic_is_that_of_the_last_generation_though_another_was_met_after_it() -> None:
    assert Registry(EVERY).newest() == TENTH
    assert Registry([CUT, FIRST, SECOND]).newest() == SECOND


def test_before_the_log_is_registered_who_writes_may_try_again() -> None:
    """A replica that has not heard of it yet may have been asked."""
    with pytest.raises(MarqueeError) as caught:
        Registry().newest()
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_UNAVAILABLE")
    assert caught.value.retry_after == 1


def test_a_place_has_the_epoch_of_its_topic_or_a_newer_one_since_it_lost_its_end() -> None:
    registry = Registry(EVERY)
    found = {topic: [registry.epoch(Place(topic, number)) for number in range(4)] for topic in "abcd"}
    assert found == {"a": [1] * 4, "b": [2, 2, 2, 3], "c": [5] * 4, "d": [4] * 4}
    with pytest.raises(LookupError, match="of another log is not registered"):
        registry.epoch(Place("of another log", 0))


def test_a_partition_that_loses_its_end_again_has_a_newer_epoch_at_once() -> None:
    registry = Registry([FIRST])
    assert registry.epoch(Place("a", 3)) == 1
    registry.update([Life(2, "log", "a", 4, 3), Life(3, "log", "a", 4, 3), FIRST])
    assert [registry.epoch(Place("a", number)) for number in (2, 3)] == [1, 3]
    assert [life.epoch for life in registry.lives] == [1, 2, 3]


def test_an_epoch_says_where_a_users_submissions_of_that_time_stand() -> None:
    registry = Registry(EVERY)
    assert [registry.partition_of("ann", epoch) for epoch in range(1, 7)] == [3, 3, 3, 51, 3, None]


def test_a_topic_comes_after_the_generations_before_its_own() -> None:
    registry = Registry(EVERY)
    assert registry.before(Place("a", 0)) == set()
    assert registry.before(Place("c", 0)) == {"a", "b"}
    assert registry.before(Place("d", 0)) == {"a", "b", "c"}
    assert registry.before(Place("of another log", 0)) == set()


def test_a_topic_is_a_life_and_a_partition_that_was_cut_is_none_of_its_own() -> None:
    registry = Registry([CUT, SECOND])
    assert registry.life("b") == SECOND
    assert registry.life("c") is None


@pytest.mark.parametrize(
    ("topic", "number", "following"),
    [
        ("log", 1, "log.g2"),
        ("log.g2", 2, "log.g3"),
        ("log.g10", 10, "log.g11"),
        ("log.g0", 1, "log.g0.g2"),
        ("log.green", 1, "log.green.g2"),
        ("log.g2.g3", 3, "log.g2.g4"),
        ("", 1, ".g2"),
    ],
)
def test_a_generation_is_told_by_the_name(topic: str, number: int, following: str) -> None:
    assert generation(topic) == number
    assert next_name(topic) == following


def test_a_logs_generations_are_no_other_topics() -> None:
    pattern = re.compile(family("my.log"))
    for topic in ("my.log", "my.log.g2", "my.log.g11"):
        assert is_generation("my.log", topic)
        assert pattern.search(topic)
    for topic in ("my.logs", "my_log", "a.my.log", "my.log.green", "my.log.g2.dead", "my.log.g"):
        assert not is_generation("my.log", topic)
        assert not pattern.search(topic)
