"""What dead letters of submissions say of themselves, and what share of the traffic they may be."""

from mesh.kafka import Place, Poison, Record
from mesh.kafka import dead_letters as every
from mesh.kafka.dead_letters import DeadLetter, Share
from rating_svc import dead_letters
from rating_svc.dead_letters import position_of, redrive_headers
from rating_svc.submissions import Position
from tests.support.clock import Clock


def test_the_share_is_that_of_the_last_minute(clock: Clock) -> None:
    share = Share(60, clock)
    share.read(100)
    share.buried(4)
    assert share.of(1) == 0.05
    clock.now += 61
    share.read(10)
    assert share.of(1) == 0.1


def test_the_share_of_what_is_read_first_is_a_share_too(clock: Clock) -> None:
    share = Share(60, clock)
    assert share.of(1) == 1
    share.read(1)
    assert share.of(1) == 1


class FakeMessage:
    """A message as confluent-kafka returns it."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = [(name, value.encode()) for name, value in headers.items()]

    def topic(self) -> str:
        return "submitted"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 41

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_750_000_000_000

    def key(self) -> bytes:
        return b"ann"

    def value(self) -> bytes:
        return b"?"

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers


def record(headers: dict[str, str]) -> Record:
    return Record(FakeMessage(headers))  # type: ignore[arg-type]


def headers_of(letter: Record, epoch: int) -> dict[str, str]:
    why = Poison("UNPARSABLE", "no message")
    own = dead_letters.headers_of(position_of(letter, epoch))
    return every.headers_of(DeadLetter(letter, Place("id", letter.partition), why, own))


def test_a_dead_letter_says_why_and_where_it_stood_and_keeps_what_it_came_with() -> None:
    assert headers_of(record({"traceparent": "00-1-2-01"}), 2) == {
        "traceparent": "00-1-2-01",
        every.REASON: "UNPARSABLE",
        every.ERROR: "no message",
        every.TOPIC: "submitted",
        every.PARTITION: "3",
        every.RECORD: "id/3/41",
        dead_letters.EPOCH: "2",
        every.OFFSET: "41",
    }


def test_a_letter_of_any_log_says_its_offset() -> None:
    letter = DeadLetter(record({}), Place("id", 3), Poison("UNPARSABLE", "no message"), {})
    assert every.headers_of(letter)[every.OFFSET] == "41"


def test_a_redriven_letter_keeps_its_place_however_often_it_goes_round() -> None:
    letter = headers_of(record({"traceparent": "00-1-2-01"}), 2)
    again = record(redrive_headers(letter))
    assert position_of(again, 3) == Position(2, 41)
    assert again.headers["traceparent"] == "00-1-2-01"
    assert not {every.REASON, every.RECORD} & again.headers.keys()
    # Epoch 3 by now, and offset 41 of this record: neither counts.
    moved = record({**again.headers, dead_letters.REDRIVEN_OFFSET: "7"})
    assert position_of(moved, 3) == Position(2, 7)
    second = headers_of(moved, 3)
    assert second[every.OFFSET] == "7"
    assert second[dead_letters.EPOCH] == "2"
    assert second[every.RECORD] == "id/3/41"


def test_a_letter_that_does_not_say_its_place_stands_where_it_is_read() -> None:
    """Any program may write into the topic, and letters of early releases had no epoch."""
    here = Position(3, 41)
    assert position_of(record({}), 3) == here
    assert position_of(record({dead_letters.REDRIVEN_OFFSET: "7"}), 3) == here
    assert position_of(record({dead_letters.REDRIVEN_EPOCH: "2"}), 3) == here
    assert (
        position_of(record({dead_letters.REDRIVEN_EPOCH: "2", dead_letters.REDRIVEN_OFFSET: "-7"}), 3) == here
    )
    assert (
        position_of(record({dead_letters.REDRIVEN_EPOCH: "two", dead_letters.REDRIVEN_OFFSET: "7"}), 3)
        == here
    )
    placeless = redrive_headers({every.REASON: "UNPARSABLE"})
    assert placeless == {dead_letters.REDRIVEN_EPOCH: "", dead_letters.REDRIVEN_OFFSET: ""}
    assert position_of(record(placeless), 3) == here
