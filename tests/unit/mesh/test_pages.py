"""Tokens of pages that can't be made up."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MarqueeError
from mesh.pages import PageTokens

TOKENS = PageTokens("secret")

cursors = st.recursive(
    st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
bindings = st.tuples(st.text(max_size=10), st.integers() | st.none())


@given(cursors, bindings)
def test_a_token_gives_its_cursor_back(cursor: Any, binding: tuple[object, ...]) -> None:
    token = TOKENS.encode(cursor, *binding)
    assert TOKENS.decode(token, *binding) == cursor
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.decode("", "anything") is None


@given(cursors, bindings, bindings)
def test_a_token_is_refused_for_another_request(
    cursor: Any, one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    if one != other:
        refused(TOKENS.encode(cursor, *one), *other)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_whatever_is_made_up_is_refused_politely(token: str) -> None:
    if token:
        refused(token)


@given(cursors, st.integers(0), st.integers(0, 7))
def test_a_token_with_one_bit_turned_is_refused(cursor: Any, where: int, bit: int) -> None:
    token = TOKENS.encode(cursor)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[where % len(raw)] ^= 1 << bit
    refused(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))


def test_a_token_of_another_key_and_an_endless_one_are_refused() -> None:
    refused(PageTokens("other").encode([1]))
    refused("A" * 100_000)


def refused(token: str, *binding: object) -> None:
    with pytest.raises(MarqueeError) as caught:
        TOKENS.decode(token, *binding)
    assert caught.value.reason == "INVALID_PAGE_TOKEN"
    assert [violation.field for violation in caught.value.violations] == ["page_token"]
