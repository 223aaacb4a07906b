"""Titles made comparable: case, Latin accents, punctuation and the place of the article don't matter.

Letters do, in every script: only marks that writers leave out (accents on Latin and
Greek, Hebrew points, Arabic vowel signs, Cyrillic stress) are dropped; vowel signs of
Indic scripts, tones of Thai and the voicing of kana are letters. See
https://www.unicode.org/reports/tr15/ for the normal forms.

Whether punctuation within a word joins or parts it, people don't agree: `Spider-Man`
is what is meant by `Spider Man` and by `Spiderman`. So a title with such punctuation
has several keys, and two titles are the same if they share one. A space always parts:
`Now Here` is not `Nowhere`.
"""

import itertools
import re
import unicodedata
from functools import lru_cache
from typing import Final

RULES: Final = 2
"""The version of these rules. Another one needs a migration that has the keys of all titles made again."""
MAX_KEYS: Final = 8
"""How many keys a title has at most."""

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
LEADING: Final = ("the", "a", "an")
_TRAILING_RE: Final = re.compile(r"(.+), ([^\s,]+)")
# `20,000`, not `9.99`.
_GROUPED_RE: Final = re.compile(
    r"(?<![0-9.,'])[0-9]{1,3}(?:([.,'])[0-9]{3})(?:\1[0-9]{3})*(?![0-9]|[.,'][0-9])"
)
_ASCII_RE: Final = re.compile(r"[^a-z0-9\s'&.,]")
_PART_RE: Final = re.compile(r"[0-9]+|[-.,']+|[^-.,'0-9]+")
# Written for an apostrophe, or, like it, within a word without parting it for everyone.
_APOSTROPHES: Final = frozenset("'’‘‛`´′ʹʻʼʽˈ＇׳״\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH SPACE}")
_DROPPED: Final = frozenset("™℠®©ـ")
# Letters that no normal form takes apart, and those that differ by keyboard only.
_UNFOLDED: Final = {
    **{"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ŧ": "t", "ı": "i"},
    **{"æ": "ae", "œ": "oe", "þ": "th", "ё": "е", "ی": "ي", "ک": "ك"},
}
# Accents, and marks that may stand on letters of any script.
_ACCENT_RE: Final = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
# Hebrew points, Arabic vowel signs, and what chooses a picture of the letter before.
_LEFT_OUT_RE: Final = re.compile(
    "[\u0591-\u05c7\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06ed"
    "\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
_STRESS: Final = "\u0300\u0301"
# One vowel of Thai, which the normal form takes apart, on either side of a tone.
_SARA_AM_RE: Final = re.compile("\u0e4d([\u0e48-\u0e4b]?)\u0e32")

Words = tuple[str, ...]


def display(title: str) -> str:
    """`Matrix, The` → `The Matrix`; other titles as they are."""
    found = _TRAILING_RE.fullmatch(title)
    if found is None:
        return title
    article = "".join("'" if c in _APOSTROPHES else c for c in found[2].lower())
    if article not in _ARTICLES:
        return title
    return f"{found[2]}{'' if article.endswith(chr(39)) else ' '}{found[1]}"


def words(title: str) -> Words:
    """A title's words as most people write them: `S.W.A.T.` is one, `Spider-Man` two; `&` is `and`."""
    return forms(title)[0]


@lru_cache(maxsize=4096)
def forms(title: str) -> tuple[Words, ...]:
    """The words of a title in each way that its punctuation may be read; `words` first. At least one form."""
    choices = [_readings(chunk) for chunk in _folded(title).split()]
    usual = tuple(itertools.chain.from_iterable(reading[0] for reading in choices))
    parted = tuple(itertools.chain.from_iterable(reading[-1] for reading in choices))
    mixed = (tuple(itertools.chain.from_iterable(chosen)) for chosen in itertools.product(*choices))
    return tuple(dict.fromkeys((usual, parted, *itertools.islice(mixed, MAX_KEYS))))[:MAX_KEYS]


def key(title: str) -> str:
    """What titles are sorted by: `The Matrix` and `Matrix, The` → `matrix, the`."""
    return keys(title)[0]


def keys(title: str) -> list[str]:
    """What a title is found by, `key` first: two titles are the same if they share one."""
    shown = display(title)
    found = [_behind(form) for form in forms(shown) if form]
    return found or [" ".join(unicodedata.normalize("NFKC", title).casefold().split())]


def all_words(*names: str) -> list[str]:
    """Every word of the names in every form, each once."""
    return list(dict.fromkeys(word for name in names for form in forms(display(name)) for word in form))


def _behind(form: Words) -> str:
    if len(form) > 1 and form[0] in LEADING:
        return f"{' '.join(form[1:])}, {form[0]}"
    return " ".join(form)


def _readings(chunk: str) -> list[Words]:
    """What is between two spaces, as words: the usual reading, then punctuation that joins, then that parts.

    Letters and digits are words of their own, whatever stands between them.
    """
    parts = _PART_RE.findall(chunk)
    runs = [part for part in parts if part[0] not in "-.,'"]
    if not runs:
        return [()]
    joined, usual = [runs[0]], [runs[0]]
    for before, after in itertools.pairwise(_with_gaps(parts)):
        if before[0].isdigit() or after[0].isdigit():
            joined.append(after[0])
            usual.append(after[0])
            continue
        joined[-1] += after[0]
        # Letters that stand alone, each with its point, are initials.
        if set(after[1]) <= {"'"} or len(before[0]) == len(after[0]) == 1:
            usual[-1] += after[0]
        else:
            usual.append(after[0])
    return list(dict.fromkeys((tuple(usual), tuple(joined), tuple(runs))))


def _with_gaps(parts: list[str]) -> list[tuple[str, str]]:
    """The letters and digits among parts, each with the punctuation in front of it."""
    found: list[tuple[str, str]] = []
    gap = ""
    for part in parts:
        if part[0] in "-.,'":
            gap = part
        else:
            found.append((part, gap))
            gap = ""
    return found


def _folded(title: str) -> str:
    """A title in which only letters, ASCII digits and spaces remain, and `' . , -` for all punctuation."""
    if title.isascii():
        plain = _ASCII_RE.sub("-", title.lower().replace("`", "'"))
    else:
        text = "".join("'" if c in _APOSTROPHES else _set_apart(c) for c in title)
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        plain = _SARA_AM_RE.sub("\\1\u0e33", "".join(_letters(text)))
    return _GROUPED_RE.sub(lambda found: found[0].replace(found[1], ""), plain).replace("&", " and ")


@lru_cache(maxsize=4096)
def _set_apart(c: str) -> str:
    """`³`, `½` and `Ⅱ` are numbers of their own, not more of the word or number before them."""
    if c in _DROPPED:
        return ""
    plain = unicodedata.normalize("NFKC", c)
    return f" {plain} " if plain != c and unicodedata.category(c) in ("No", "Nl") else c


def _letters(text: str) -> list[str]:
    found: list[str] = []
    script = ""
    for c in text:
        category = unicodedata.category(c)
        if category[0] == "M":
            if _counts(c, script):
                found.append(c)
            continue
        folded, script = _folded_letter(c) if category[0] in "LN" else (_separator(c, category), "")
        found.append(folded)
    return found


def _counts(mark: str, script: str) -> bool:
    """Whether a mark is part of how a word is written, after a letter of a script."""
    if _ACCENT_RE.match(mark):
        return script == "CYRILLIC" and mark not in _STRESS
    return _LEFT_OUT_RE.match(mark) is None


@lru_cache(maxsize=4096)
def _folded_letter(c: str) -> tuple[str, str]:
    """A letter or digit as it is compared, and its script."""
    if c.isdecimal():
        return str(unicodedata.decimal(c)), "DIGIT"
    script = _name(c).partition(" ")[0]
    if c in _DROPPED:
        return "", script
    if script in ("LATIN", "GREEK"):
        c = unicodedata.normalize("NFD", c)[0]
    return _UNFOLDED.get(c, c), script


def _separator(c: str, category: str) -> str:
    if category in ("Zs", "Zl", "Zp", "Cc"):
        return " "
    if category == "Cf":
        return ""
    if c in "'&.,":
        return c
    return "'" if c in _APOSTROPHES else "-"


def _name(c: str) -> str:
    return unicodedata.name(c, "")
