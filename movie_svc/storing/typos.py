"""Finding titles whose name is spelled wrong: one letter is wrong, missing, too many, or two are swapped.

A name that differs by one letter from what was asked for has either its front
half or its back half right, and as many letters, one more or one less. So an
index by length and front, and one by length and back, lead to a few names, and
patterns say which of them differ by one letter. That holds in every script, and
for names of two letters as well, where the share of letters that agree
(trigrams) says nothing.
"""

# ruff: noqa: S608 - what is put into statements is fixed text; values are parameters

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mesh.hedge import HedgedReads
from movie_svc import titles
from movie_svc.storing.listings import Filters, Page, Query
from movie_svc.storing.store import ENTRY, entry

# A shorter word differs by one letter from too many others; a whole title of fewer letters does not.
_SHORTEST_WORD: Final = 4
_MOST_WORDS: Final = 8
"""Of a longer text only the first words may be spelled wrong."""
_SPELLINGS: Final = 50
_TITLES: Final = 500
# After every letter that there is.
_LAST: Final = "\U0010ffff"
# As in the indexes of `migrations/`.
_COMPACT: Final = "replace(split_part({key}, ', ', 1), ' ', '')"


@dataclass(frozen=True)
class Neighbours:
    """What is one letter, or none, from a text."""

    text: str
    patterns: Sequence[str]
    """For LIKE."""
    lengths: Sequence[int]
    front: str
    """What they begin with, or"""
    back: str
    """what they end with,"""
    across: Sequence[str]
    """except these, in which letters are swapped where the halves meet."""


def neighbours(text: str) -> Neighbours:
    """What to look for instead of a text."""
    letters = _letters(text)
    marked = len(letters) < len(text)
    found = {text, *_near(letters, ("_", "__") if marked else ("_",))}
    if marked:
        # A vowel sign, or a tone, may be wrong alone.
        found.update(_near(text, ("_",)))
    if len(letters) == 1:
        letters = list(text)
    half = max(1, len(letters) // 2)
    front, back = "".join(letters[:half]), "".join(letters[half:]) or text
    across = [p for p in found if "_" not in p and not p.startswith(front) and not p.endswith(back)]
    return Neighbours(
        text, sorted(found), sorted({len(pattern) for pattern in found}), front, back, sorted(across)
    )


class Typos:
    """Searches what PostgreSQL has for names that are spelled a little differently."""

    def __init__(self, reads: HedgedReads) -> None:
        self._reads = reads

    async def search(
        self,
        text: str,
        filters: Filters,
        before: datetime,
        size: int,
        cursor: Sequence[int] | None,
        but_not: Sequence[int],
    ) -> Page:
        """A page of titles that nearly have that name, and then of those that hold nearly these words.

        Without those that `Listings.search` finds, and without `but_not`.
        """
        words = titles.words(text)
        if not words:
            return Page([], [], None)
        numbers = [n for name in _compact(words) for n in await self._called(name, before)]
        spelled = await self._spelled(words)
        parts = []
        query = Query()
        query.restrict(filters)
        query.match(text, before, negate=True)
        query.conditions.append(f"id <> ALL({query.add(list(but_not))}::int[])")
        called = query.add(numbers)
        choices = [(0, f"id = ANY({called}::int[])")] if numbers else []
        if spelled:
            choices.append(
                (1, f"id <> ALL({called}::int[]) AND words @@ {query.add(spelled)}::text::tsquery")
            )
        for place, condition in choices:
            if cursor and cursor[0] > place:
                continue
            after = ""
            if cursor and cursor[0] == place:
                after = f"(votes, id) < ({query.add(cursor[1])}::int, {query.add(cursor[2])}::int)"
            parts.append(
                f"(SELECT {ENTRY}, votes, {place} AS place FROM movies "
                f"{query.where(*filter(None, (condition, after)))} "
                f"ORDER BY votes DESC, id DESC LIMIT {size + 1})"
            )
        if not parts:
            return Page([], [], None)
        rows = await self._reads.fetch(
            f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS found "
            f"ORDER BY place, votes DESC, id DESC LIMIT {size + 1}",
            *query.parameters,
        )
        page = rows[:size]
        more = len(rows) > size
        last = [page[-1]["place"], page[-1]["votes"], page[-1]["id"]] if more and page else []
        return Page([entry(row) for row in page], [row["id"] for row in page], last if more else None)

    async def _called(self, name: str, before: datetime) -> list[int]:
        """The best known of the titles with a name near to one."""
        parts = [
            f"SELECT {number} AS id FROM {table} WHERE {condition}"
            for table, number, key in (("movies", "id", "title_key"), ("names", "movie_id", "key"))
            for condition in _conditions(_COMPACT.format(key=key), 3)
        ]
        rows = await self._reads.fetch(
            f"SELECT id FROM movies WHERE id = ANY(ARRAY({' UNION '.join(parts)})) AND create_time <= $1 "
            "ORDER BY votes DESC, id DESC LIMIT $2",
            before,
            _TITLES,
            *_parameters(neighbours(name)),
        )
        return [row["id"] for row in rows]

    async def _spelled(self, words: Sequence[str]) -> str:
        """The tsquery of titles that hold all words, each as it is or one letter from it; "" if none can."""
        near = {
            word: neighbours(word)
            for word in words[:_MOST_WORDS]
            if len(word) >= _SHORTEST_WORD and not word.isdigit()
        }
        if not near:
            return ""
        parts: list[str] = []
        parameters: list[object] = []
        for word, neighbour in near.items():
            asked = f"${len(parameters) + 1}::text"
            choices = " UNION ".join(
                f"SELECT word FROM vocabulary WHERE {condition}"
                for condition in _conditions("word", len(parameters) + 2)
            )
            parts.append(
                f"(SELECT {asked} AS asked, word FROM ({choices}) AS near WHERE word <> {asked} "
                # Few people mistake the first letter.
                f"ORDER BY left(word, 1) = left({asked}, 1) DESC, word LIMIT {_SPELLINGS})"
            )
            parameters += [word, *_parameters(neighbour)]
        rows = await self._reads.fetch(" UNION ALL ".join(parts), *parameters)
        # What the last word begins has been searched for.
        found = [(row["asked"], row["word"]) for row in rows if not row["word"].startswith(words[-1])]
        if not found:
            return ""
        each = []
        for position, word in enumerate(words):
            begun = ":*" if position == len(words) - 1 else ""
            spellings = [f"'{near_word}'" for asked, near_word in found if asked == word]
            # A word alone, as it is, has been searched for.
            as_it_is = [f"'{word}'{begun}"] if len(words) > 1 else []
            each.append(" | ".join([*as_it_is, *spellings]))
        return " & ".join(f"({choices})" for choices in each)


def _compact(words: Sequence[str]) -> list[str]:
    """A name without spaces and article; without its first word too, if that is nearly an article."""
    rest = "".join(words[1:])
    if not rest or words[0] not in titles.LEADING:
        near = rest and any(_is_near(words[0], article) for article in titles.LEADING)
        return [words[0] + rest, rest] if near else [words[0] + rest]
    return [rest]


def _is_near(word: str, other: str) -> bool:
    """Whether they differ by one letter at most; of one letter alone, not at all."""
    if min(len(word), len(other)) < 2:
        return word == other
    return any(
        len(pattern) == len(word) and all(p in ("_", c) for p, c in zip(pattern, word, strict=True))
        for pattern in neighbours(other).patterns
    )


def _conditions(column: str, first: int) -> tuple[str, ...]:
    """Of names near to one: those that begin like it, those that end like it, and the one left over."""
    lengths, patterns, low, high, back_low, back_high, across = (f"${first + n}" for n in range(7))
    near = f"length({column}) = ANY({lengths}::int[]) AND {column} LIKE ANY({patterns}::text[])"
    return (
        f"{near} AND {column} >= {low} AND {column} < {high}",
        f"{near} AND reverse({column}) >= {back_low} AND reverse({column}) < {back_high}",
        f"length({column}) = ANY({lengths}::int[]) AND {column} = ANY({across}::text[])",
    )


def _parameters(near: Neighbours) -> list[object]:
    back = near.back[::-1]
    front = near.front
    halves = (front, front + _LAST, back, back + _LAST)
    return [list(near.lengths), list(near.patterns), *halves, list(near.across)]


def _letters(text: str) -> list[str]:
    """Letters, each with its vowel signs, tones and other marks."""
    found: list[str] = []
    for c in text:
        if found and unicodedata.category(c)[0] == "M":
            found[-1] += c
        else:
            found.append(c)
    return found


def _near(letters: Sequence[str], any_letter: Sequence[str]) -> Iterator[str]:
    """Patterns of what differs from letters by one that is too many, wrong, missing, or by two swapped."""
    for at, letter in enumerate(letters):
        before, after = "".join(letters[:at]), "".join(letters[at + 1 :])
        yield before + after
        for wildcard in any_letter:
            yield before + wildcard + after
            yield before + wildcard + letter + after
        if at + 1 < len(letters):
            yield before + letters[at + 1] + letter + "".join(letters[at + 2 :])
    yield from ("".join(letters) + wildcard for wildcard in any_letter)
