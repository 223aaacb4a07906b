"""Texts in requests: compared in the same way by every service."""

import unicodedata


def folded(value: str) -> str:
    """What texts are compared by: ` Sci-Fi ` and `sci-fi` are the same. Case and spaces don't count."""
    return " ".join(unicodedata.normalize("NFC", value).casefold().split())
