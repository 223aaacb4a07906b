"""Titles made comparable: case, accents, punctuation and the place of the article don't matter."""

import re
import unicodedata
from typing import Final

# The leading articles of the languages that film catalogues move behind the title.
_ARTICLES: Final = frozenset(
    (
        *("the", "a", "an"),
        *("le", "la", "les", "l'", "un", "une"),
        *("il", "lo", "i", "gli", "uno", "una"),
        *("el", "los", "las"),
        *("der", "die", "das", "ein", "eine"),
        *("den", "det", "en", "ett", "de", "het"),
    )
)
# Read as an article in front of a title only in the language asked in: "Die Hard" must stay what it is.
_LEADING: Final = frozenset(("the", "a", "an"))
_WORD_RE: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TRAILING_RE: Final = re.compile(r"(.+), ([^\s,]+)")
_UNFOLDED: Final = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ß": "ss", "’": "'"})


def display(title: str) -> str:
    """`Matrix, The` → `The Matrix`; other titles as they are."""
    found = _TRAILING_RE.fullmatch(title)
    if found is None or found[2].lower() not in _ARTICLES:
        return title
    return f"{found[2]}{'' if found[2].endswith(chr(39)) else ' '}{found[1]}"


def words(title: str) -> list[str]:
    """A title's words: lower case, without accents; `&` is `and`."""
    folded = unicodedata.normalize("NFKD", title.replace("&", " and ").casefold()).translate(_UNFOLDED)
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    return [word.replace("'", "") for word in _WORD_RE.findall(plain)]


def key(title: str) -> str:
    """What titles are compared and sorted by: `The Matrix` and `Matrix, The` → `matrix, the`."""
    found = words(display(title))
    if len(found) > 1 and found[0] in _LEADING:
        return f"{' '.join(found[1:])}, {found[0]}"
    return " ".join(found) or title.strip().casefold()
