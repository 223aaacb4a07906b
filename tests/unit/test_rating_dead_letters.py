"""Single bad messages are set aside; a bad release stops the worker."""

import pytest

from mesh.kafka import Record
from rating_svc import dead_letters
from rating_svc.config import WorkerConfig
from rating_svc.dead_letters import DeadLetter, DeadLetterLimit, headers_of, position_of, redrive_headers
from rating_svc.submissions import Poison, Position
from tests.support.clock import Clock


@pytest.fixture
def limit(clock: Clock) -> DeadLetterLimit:
    return DeadLetterLimit(WorkerConfig(dead_letter_count=10, dead_letter_share=0.1), clock)


def test_a_few_are_borne_even_if_nothing_else_comes(limit: DeadLetterLimit) -> None:
    assert not any(limit.exceeded(1, 1) for _ in range(10))


def test_many_are_borne_while_they_are_a_small_share(limit: DeadLetterLimit) -> None:
    assert not any(limit.exceeded(500, 20) for _ in range(20))


def test_a_release_that_writes_nothing_but_bad_messages_stops_the_worker(limit: DeadLetterLimit) -> None:
    assert not limit.exceeded(500, 0)
    assert limit.exceeded(500, 500)


def test_what_is_long_past_does_not_count(limit: DeadLetterLimit, clock: Clock) -> None:
    assert not limit.exceeded(10, 10)
    clock.now += 61
    assert not limit.exceeded(10, 10)
    clock.now += 30
    assert limit.exceeded(10, 10)


def test_good_batches_do_not_stop_a_worker_that_is_near_the_limit(limit: DeadLetterLimit) -> None:
    assert not limit.exceeded(10, 10)
    assert not limit.exceeded(5, 0)


class FakeMessage:
    """A message as confluent-kafka gives it."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = [(name, value.encode()) for name, value in headers.items()]

    def topic(self) -> str:
        return "submitted"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 41

    def key(self) -> bytes:
        return b"ann"

    def value(self) -> bytes:
        return b"?"

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers


def record(headers: dict[str, str]) -> Record:
    return Record(FakeMessage(headers))  # type: ignore[arg-type]


def test_a_dead_letter_says_why_and_where_it_stood_and_keeps_what_it_came_with() -> None:
    came = record({"traceparent": "00-1-2-01"})
    headers = headers_of(DeadLetter(came, position_of(came, 2), Poison("UNPARSABLE", "no message")))
    assert headers == {
        "traceparent": "00-1-2-01",
        dead_letters.REASON: "UNPARSABLE",
        dead_letters.ERROR: "no message",
        dead_letters.TOPIC: "submitted",
        dead_letters.PARTITION: "3",
        dead_letters.EPOCH: "2",
        dead_letters.OFFSET: "41",
    }


def test_a_redriven_letter_keeps_its_place_however_often_it_goes_round() -> None:
    why = Poison("UNPARSABLE", "no message")
    first = record({"traceparent": "00-1-2-01"})
    letter = headers_of(DeadLetter(first, position_of(first, 2), why))
    again = record(redrive_headers(letter))
    assert again.headers["traceparent"] == "00-1-2-01"
    assert dead_letters.REASON not in again.headers
    # Epoch 3 by now, and offset 41 of this record: neither counts.
    moved = record({**again.headers, dead_letters.REDRIVEN_OFFSET: "7"})
    assert position_of(moved, 3) == Position(2, 7)
    second = headers_of(DeadLetter(moved, position_of(moved, 3), why))
    assert second[dead_letters.OFFSET] == "7"
    assert second[dead_letters.EPOCH] == "2"
