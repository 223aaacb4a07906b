"""OMDb's texts into values, one function a form.

Each takes the text as sent, cleaned, and returns the value; it raises `ValueError`
if the text has none of the forms that OMDb has been seen to use.
"""

import datetime
import re
from typing import Final

from google.type import date_pb2
from marquee.movies.v1 import movies_pb2

INT32_MAX: Final = 2**31 - 1

# The dash as it is, as a hyphen, and as UTF-8 that was read as Windows-1252.
_YEARS_RE: Final = re.compile(
    r"(\d{4})\s*(?:([‐‑‒–—−-]|â€“)\s*(?:(\d{4})|present|\?{1,4})?)?", re.ASCII | re.IGNORECASE
)
_FIRST_YEAR: Final = 1800
_RUNTIME_RE: Final = re.compile(
    r"(?:(\d+)\s*h(?:rs?|ours?)?)?\s*(?:([\d,]+)\s*(?:m|mins?|minutes?)?)?", re.IGNORECASE
)
_MONEY_RE: Final = re.compile(r"\$\s?([\d,]+(?:\.\d+)?)\s?([KMB])?", re.IGNORECASE)
_DAY_RE: Final = re.compile(r"(?:(\d{1,2}) )?([A-Z][a-z]{2}) (\d{4})")
_ISO_RE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_COUNT_RE: Final = re.compile(r"\d{1,3}(?:,\d{3})*|\d+")
_HEADLINE_RE: Final = re.compile(r"(Won|Nominated for) (\d+) ([A-Za-z][A-Za-z' ]*?)(?:\.\s*|(?=\d)|$)(.*)")
_TALLY_RE: Final = re.compile(
    r"(?P<another>Another )?(?:(?P<wins>\d+) wins?)?(?: & )?(?:(?P<nominations>\d+) nominations?)?"
    r"(?P<total> total)?\.?"
)
_CREDIT_RE: Final = re.compile(r"(.+?)\s*\((.*)\)", re.DOTALL)
_SUFFIXES: Final = {"Jr.", "Jr", "Sr.", "Sr", "II", "III", "IV"}
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_SCALE: Final = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def count(text: str) -> int:
    """`1,234,567` → 1234567; up to the int32 limit."""
    if _COUNT_RE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a count")
    return _int32(int(text.replace(",", "")))


def years(text: str) -> tuple[int, int | None, bool]:
    """`1975–1979` → (1975, 1979, False); `2006–` → (2006, None, True); `1994` → (1994, None, False).

    `2006–present` is open too. A range may be written with any dash, and with spaces around it.
    """
    found = _YEARS_RE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a year or a range of years")
    first, dash, last = found.groups()
    if int(first) < _FIRST_YEAR or (last and int(last) < int(first)):
        raise ValueError(f"{text!r} is no time in which titles came out")
    return int(first), int(last) if last else None, bool(dash and not last)


def runtime(text: str) -> int:
    """`142 min`, `1 h 36 min`, `2 h` → minutes."""
    found = _RUNTIME_RE.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a running time")
    hours, minutes = found.groups()
    return _int32(int(hours or 0) * 60 + int((minutes or "0").replace(",", "")))


def money(text: str) -> int:
    """`$936,662,225`, `$28.3M` → whole US dollars. Other currencies are not understood."""
    found = _MONEY_RE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount in US dollars")
    amount, scale = found.groups()
    return _int32(round(float(amount.replace(",", "")) * _SCALE[(scale or "").upper()]))


def day(text: str) -> date_pb2.Date:
    """`14 Oct 1994`, `Oct 1994`, `1994-10-14`, `1994` → a date; what is missing is 0."""
    if found := _DAY_RE.fullmatch(text):
        if found[2] not in _MONTHS:
            raise ValueError(f"{text!r} has no such month")
        return _date(int(found[3]), _MONTHS[found[2]], int(found[1] or 0))
    if found := _ISO_RE.fullmatch(text):
        return _date(*(int(part) for part in found.groups()))
    if re.fullmatch(r"\d{4}", text):
        return _date(int(text), 0, 0)
    raise ValueError(f"{text!r} is not a date")


def decimal(text: str, low: float, high: float) -> float:
    """`8.7` → 8.7, within `low`..`high`."""
    value = float(text)
    if not low <= value <= high:
        raise ValueError(f"{text!r} is not within {low:g}–{high:g}")
    return value


def fraction(text: str) -> float:
    """`91%`, `8.7/10`, `69/100` → 0.0–1.0."""
    if text.endswith("%"):
        return decimal(text[:-1], 0, 100) / 100
    value, slash, best = text.partition("/")
    if not slash or float(best) <= 0:
        raise ValueError(f"{text!r} is not a rating of a known form")
    return decimal(value, 0, float(best)) / float(best)


def awards(text: str) -> movies_pb2.Awards:
    """The counts in OMDb's sentence about awards.

    Before 2021 the headline's awards stood beside the others ("Won 3 Oscars.
    Another 5 wins"), since then they are part of a total ("21 wins & 43
    nominations total"); both mean the total.
    """
    found = movies_pb2.Awards(text=text)
    rest = text
    wins = nominations = None
    if headline := _HEADLINE_RE.fullmatch(text):
        verb, number, award, rest = headline.groups()
        found.headline_award = _singular(award) if int(number) != 1 or award.endswith("s") else award
        if verb == "Won":
            found.headline_wins = wins = int(number)
        else:
            found.headline_nominations = nominations = int(number)
    tally = _TALLY_RE.fullmatch(rest)
    if tally is None or not text:
        raise ValueError(f"{text!r} is not a sentence about awards of a known form")
    adds = not tally["total"]
    if tally["wins"]:
        wins = int(tally["wins"]) + (wins or 0) * adds
    if tally["nominations"]:
        nominations = int(tally["nominations"]) + (nominations or 0) * adds
    if wins is None and nominations is None:
        raise ValueError(f"{text!r} counts no awards")
    if wins is not None:
        found.wins = wins
    if nominations is not None:
        found.nominations = nominations
    return found


def credits(text: str) -> list[movies_pb2.Credit]:
    """`Frank Tuttle (screenplay), Sidney R. Kent` → people, each with the note in brackets."""
    parts: list[str] = []
    for part in split(text):
        if part in _SUFFIXES and parts:
            parts[-1] += f", {part}"
        else:
            parts.append(part)
    return [_credit(part) for part in parts]


def split(text: str) -> list[str]:
    """Splits at the commas that stand outside of brackets.

    Raises:
        ValueError: a bracket is not closed, or nothing stands between two commas.
    """
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                break
        elif char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    parts.append(text[start:].strip())
    if depth != 0:
        raise ValueError(f"the brackets of {text!r} don't match")
    if not all(parts):
        raise ValueError(f"{text!r} has nothing between two commas")
    return parts


def _credit(part: str) -> movies_pb2.Credit:
    found = _CREDIT_RE.fullmatch(part)
    if found is None:
        return movies_pb2.Credit(person=part)
    return movies_pb2.Credit(person=found[1], note=found[2])


def _singular(award: str) -> str:
    return award.removesuffix("s")


def _date(year: int, month: int, date: int) -> date_pb2.Date:
    try:
        datetime.date(year, month or 1, date or 1)
    except ValueError:
        raise ValueError(f"{year}-{month}-{date} is not a date") from None
    return date_pb2.Date(year=year, month=month, day=date)


def _int32(value: int) -> int:
    if value > INT32_MAX:
        raise ValueError(f"{value} is over {INT32_MAX}")
    return value
