"""What dead letters of submissions say beside what all letters do: their place in the order."""

from collections.abc import Mapping
from typing import Final

from mesh.kafka import Record
from mesh.kafka.dead_letters import ERROR, OFFSET, PARTITION, REASON, RECORD, TOPIC
from rating_svc.submissions import Position

EPOCH: Final = "marquee-epoch"

# A redriven submission keeps its place in the order: what its user submitted since stays the last.
REDRIVEN_EPOCH: Final = "marquee-redriven-epoch"
REDRIVEN_OFFSET: Final = "marquee-redriven-offset"

_OF_LETTERS: Final = (REASON, ERROR, TOPIC, PARTITION, EPOCH, OFFSET, RECORD)


def position_of(record: Record, epoch: int) -> Position:
    """A submission's place in the order: where it was first written."""
    if not record.headers:
        return Position(epoch, record.offset)
    redriven = record.headers.get(REDRIVEN_OFFSET, "")
    redriven_epoch = record.headers.get(REDRIVEN_EPOCH, "")
    if redriven.isdecimal() and redriven_epoch.isdecimal():
        return Position(int(redriven_epoch), int(redriven))
    return Position(epoch, record.offset)


def headers_of(position: Position) -> dict[str, str]:
    """The place in the order, for a letter."""
    return {EPOCH: str(position.epoch), OFFSET: str(position.offset)}


def redrive_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with which a dead letter goes back to where it came from."""
    kept = {k: v for k, v in headers.items() if k not in _OF_LETTERS}
    return kept | {REDRIVEN_EPOCH: headers.get(EPOCH, ""), REDRIVEN_OFFSET: headers.get(OFFSET, "")}
