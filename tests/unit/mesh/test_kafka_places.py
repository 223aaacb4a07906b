"""Event ids made of places, and the bounds that follow from the log's retention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.kafka.event_ids import EPOCHS, FIRST, OFFSETS, PARTITIONS, EventPlace, event_id, place_of
from mesh.kafka.retention import Retention

places = st.builds(
    EventPlace,
    epoch=st.integers(1, EPOCHS - 1),
    partition=st.integers(0, PARTITIONS - 1),
    offset=st.integers(0, OFFSETS - 1),
)


@given(places)
def test_an_event_id_holds_its_place(place: EventPlace) -> None:
    made = event_id(*place)
    assert FIRST <= made < 2**63
    assert place_of(made) == place


@given(places, places)
def test_ids_are_ordered_as_their_places_are(one: EventPlace, other: EventPlace) -> None:
    assert (event_id(*one) < event_id(*other)) == (one < other)


def test_what_was_drawn_from_a_sequence_has_no_place() -> None:
    assert place_of(FIRST - 1) is None


@pytest.mark.parametrize(
    "place", [(0, 0, 0), (EPOCHS, 0, 0), (1, PARTITIONS, 0), (1, 0, OFFSETS), (1, 0, -1)]
)
def test_a_place_without_room_is_refused(place: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="make no event id"):
        event_id(*place)


@given(st.integers(3600, 90 * 86_400))
def test_identities_outlive_every_copy_of_what_they_name(log_s: int) -> None:
    """A copy may be written up to `refresh_s` after the identity was last renewed."""
    retention = Retention(log_s)
    assert retention.remember_s - retention.refresh_s >= retention.held_s > log_s + retention.segment_s
