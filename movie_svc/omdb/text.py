"""Texts as others write them, made fit to be stored and shown."""

import html
import re
import unicodedata
from typing import Final

# Only what ends as it should: "&region=us" and "R&D" hold no entities.
_ENTITY_RE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AMPERSAND_RE: Final = re.compile(r"&(?:amp|#38|#[xX]26);")


def printable(text: str) -> str:
    """The text without what can't be shown: control characters and lone surrogates are spaces."""
    if text.isprintable() and "\xa0" not in text:
        return text.strip()
    return "".join(
        " " if unicodedata.category(c) in ("Cc", "Cs", "Zs", "Zl", "Zp") else c for c in text
    ).strip()


def unescaped(text: str) -> str:
    """HTML's entities read, also doubly escaped ones."""
    for _ in range(2):
        if "&" in text:
            text = _ENTITY_RE.sub(lambda found: html.unescape(found[0]), text)
    return text


def address(text: str) -> str:
    """A web address. It is no HTML text: `&copy=1` is a parameter; only `&amp;` stands for something else."""
    return _AMPERSAND_RE.sub("&", text)
