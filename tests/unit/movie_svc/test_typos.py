"""Whatever letter of a name is wrong, the halves that names are looked for by lead to it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from movie_svc.storing.typos import Neighbours, neighbours

NAMES = st.text("abcde羅生門शोलेก้ม", min_size=1, max_size=12)


def finds(near: Neighbours, name: str) -> bool:
    """As PostgreSQL does: see `typos._conditions`."""
    if name in near.across:
        return True
    if len(name) not in near.lengths or not (name.startswith(near.front) or name.endswith(near.back)):
        return False
    return any(re.fullmatch(pattern.replace("_", "."), name, re.DOTALL) for pattern in near.patterns)


@given(NAMES, st.integers(0, 12), st.sampled_from("xcल門"))
def test_one_wrong_letter_is_found(name: str, at: int, letter: str) -> None:
    at = min(at, len(name) - 1)
    near = neighbours(name)
    assert finds(near, name)
    assert finds(near, name[:at] + letter + name[at:]), "one missing"
    assert finds(near, name + letter)
    if len(name) > 1:
        assert finds(near, name[:at] + letter + name[at + 1 :]), "one wrong"
        assert finds(near, name[:at] + name[at + 1 :]), "one too many"
    if at + 1 < len(name):
        assert finds(near, name[:at] + name[at + 1] + name[at] + name[at + 2 :]), "two swapped"


@given(NAMES, NAMES)
def test_what_shares_neither_half_is_not_found(name: str, other: str) -> None:
    near = neighbours(name)
    if not other.startswith(near.front) and not other.endswith(near.back) and other not in near.across:
        assert not finds(near, other)


def test_two_wrong_letters_are_not_found() -> None:
    near = neighbours("matrix")
    assert not any(finds(near, name) for name in ("mutrax", "matr", "matrixes", "amtrxi", "metrik"))
