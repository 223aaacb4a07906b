"""A message as readers see it, and what tells it from another one at its place."""

from typing import Any

from mesh.kafka import Record


class Message:
    """A message as confluent-kafka returns it."""

    def __init__(self, **fields: Any) -> None:
        self._fields = {
            "offset": 41,
            "partition": 3,
            "topic": "t",
            "timestamp": (1, 1_750_000_000_000),
        } | fields

    def __getattr__(self, name: str) -> Any:
        return lambda: self._fields.get(name)


def record(**fields: Any) -> Record:
    return Record(Message(**fields))  # type: ignore[arg-type]


def test_a_message_is_read_whole() -> None:
    headers = [("traceparent", b"00-1-2-01"), ("empty", None), ("latin", b"caf\xe9")]
    found = record(key=b"ann", value=b"\x00\x01", headers=headers)
    assert (found.topic, found.partition, found.offset, found.time_ms) == ("t", 3, 41, 1_750_000_000_000)
    assert (found.key, found.value) == (b"ann", b"\x00\x01")
    assert found.headers == {"traceparent": "00-1-2-01", "empty": "", "latin": "caf\ufffd"}


def test_a_message_may_lack_all_but_its_place() -> None:
    found = record(offset=0, partition=0)
    assert (found.partition, found.offset, found.key, found.value, found.headers) == (0, 0, b"", b"", {})


def test_a_text_in_place_of_bytes_is_read_too() -> None:
    assert record(key="ann", headers=[("name", "caf\u00e9")]).headers == {"name": "caf\u00e9"}
    assert record(key="ann").key == b"ann"


def test_another_message_at_the_same_place_has_another_fingerprint() -> None:
    same = [record(key=b"ann", value=b"x").fingerprint() for _ in range(2)]
    others = [
        record(key=b"bob", value=b"x"),
        record(key=b"ann", value=b"y"),
        record(key=b"ann\x00", value=b"x"),
        record(key=b"ann", value=b"x", timestamp=(1, 1_750_000_000_001)),
        record(key=b"ann", value=b"x", timestamp=(0, -1)),
    ]
    assert len({*same, *(other.fingerprint() for other in others)}) == 6
    # A column of bigint keeps it, and a release of tomorrow knows it again.
    assert same[0] == -7118532927674743367
