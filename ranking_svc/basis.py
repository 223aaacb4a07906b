"""Which events are in an aggregate that was set to a recount.

An event's id is the place in the log of ratings of what brought it about
(`mesh.kafka.event_ids`), and a recount says up to where the log was stored when
it was taken. Kept is the last id of each partition: what has that id or a lower
one is in it, however late it comes here.
"""

from collections.abc import Iterable, Sequence

from marquee.ratings.v1 import internal_pb2

from mesh.kafka.event_ids import OFFSETS, PARTITIONS

Basis = Sequence[int]


def basis_of(stored: Iterable[internal_pb2.LogPlace]) -> Basis:
    """The basis of a recount."""
    return [
        (place.epoch * PARTITIONS + place.partition) * OFFSETS + place.next_offset - 1
        for place in stored
        if place.next_offset > 0
    ]


def ends_of(stored: Iterable[internal_pb2.LogPlace]) -> dict[int, int]:
    """Of each partition, the first id that its events may have, and the first that is not in the recount."""
    starts = {(place.epoch * PARTITIONS + place.partition) * OFFSETS: place.next_offset for place in stored}
    return {start: start + next_offset for start, next_offset in starts.items()}


def holds(basis: Basis, event_id: int) -> bool:
    """Whether an event is in what has this basis."""
    return any(last // OFFSETS == event_id // OFFSETS and event_id <= last for last in basis)
