"""Fields that are put together from ready bytes are what protobuf would have made."""

import pytest
from google.protobuf import wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st
from marquee.rankings.v1 import rankings_pb2 as pb

from mesh import wire

NUMBER = wire.tag(wrappers_pb2.UInt64Value, "value", wire.VARINT)
TITLE = wire.tag(pb.ChartEntry, "title", wire.DELIMITED)
GENRES = wire.tag(pb.ChartEntry, "genres", wire.DELIMITED)


@pytest.mark.parametrize("value", [1, 127, 128, 300, 4095, 4096, 2**14 - 1, 2**14, 2**31, 2**64 - 1])
def test_varints(value: int) -> None:
    assert NUMBER + wire.varint(value) == wrappers_pb2.UInt64Value(value=value).SerializeToString()


def test_nought() -> None:
    assert wire.varint(0) == b"\0"


@given(st.text(min_size=1))
def test_texts(text: str) -> None:
    assert wire.delimited(TITLE, text.encode()) == pb.ChartEntry(title=text).SerializeToString()


@given(st.lists(st.text(max_size=300), max_size=5))
def test_repeated_texts(texts: list[str]) -> None:
    made = wire.repeated(GENRES, (text.encode() for text in texts))
    assert made == pb.ChartEntry(genres=texts).SerializeToString()


def test_what_stands_behind_is_merged() -> None:
    made = pb.ChartEntry(title="Old", rank=1).SerializeToString() + wire.delimited(TITLE, b"New")
    assert pb.ChartEntry.FromString(made) == pb.ChartEntry(title="New", rank=1)
