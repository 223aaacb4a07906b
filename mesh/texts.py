"""Texts in requests: read in the same way by every service, or refused with a sentence."""

import unicodedata
from typing import Final

from mesh.errors import invalid

_MAX_GENRE: Final = 100


def text(field: str, value: str, low: int, high: int) -> str:
    """A text of `low` to `high` characters, no control characters; spaces around it don't count."""
    found = value.strip()
    if not low <= len(found) <= high:
        raise invalid(field, f"it has {len(found)} characters; {low} to {high} are allowed")
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in found):
        raise invalid(field, "it holds control characters")
    return found


def genre(field: str, value: str) -> str:
    """A genre, as `folded` has it; empty for none."""
    return folded(text(field, value, 0, _MAX_GENRE))


def folded(value: str) -> str:
    """What texts are compared by: ` Sci-Fi ` and `sci-fi` are the same. Case and spaces don't count."""
    return " ".join(unicodedata.normalize("NFC", value).casefold().split())
