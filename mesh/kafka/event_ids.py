"""Ids of events that follow from the place in a log of what brought them about.

Nothing counts them, so no set-back of a database makes it use one twice; and
the same message makes the same event, however often it is stored. 63 bits:

    epoch (10) | partition (12) | offset (41)

Ids below all of these were drawn from a sequence, by releases before.
"""

from typing import Final, NamedTuple

EPOCHS: Final = 1 << 10
PARTITIONS: Final = 1 << 12
OFFSETS: Final = 1 << 41
FIRST: Final = PARTITIONS * OFFSETS
"""The smallest: epochs begin at 1."""


class EventPlace(NamedTuple):
    """A place in the log."""

    epoch: int
    partition: int
    offset: int


def event_id(epoch: int, partition: int, offset: int) -> int:
    """The id of what the message at that place caused."""
    if not (1 <= epoch < EPOCHS and 0 <= partition < PARTITIONS and 0 <= offset < OFFSETS):
        raise ValueError(f"epoch {epoch}, partition {partition}, offset {offset} make no event id")
    return (epoch * PARTITIONS + partition) * OFFSETS + offset


def place_of(event: int) -> EventPlace | None:
    """The place that an id was made from; None for one that was drawn from a sequence."""
    if event < FIRST:
        return None
    rest, offset = divmod(event, OFFSETS)
    return EventPlace(*divmod(rest, PARTITIONS), offset)
