"""A title is found by a search with one wrong letter, and what is spelled right comes first."""

from collections.abc import Iterator

import pytest
from marquee.movies.v1 import movies_pb2

from tests.support.movies import MovieProcess
from tests.support.titles import FILMS, Movies, aged, answer, searched

pytestmark = pytest.mark.asyncio(loop_scope="module")


def misspelled(title: str) -> Iterator[str]:
    """A title with one letter wrong, missing, too many, or swapped with the next, each at every place."""
    other = "ष" if "ऀ" <= title[0] <= "ॿ" else "私" if title[0] >= "぀" else "q"
    for at, letter in enumerate(title):
        if not letter.isalpha():
            continue
        yield title[:at] + other + title[at + 1 :]
        yield title[:at] + title[at + 1 :]
        yield title[:at] + letter + title[at:]
        yield title[:at] + other + title[at:]
        if at + 1 < len(title) and title[at + 1].isalpha():
            yield title[:at] + title[at + 1] + letter + title[at + 2 :]


# A ligature is two letters, and a number is none.
@pytest.mark.parametrize("film", [f for f in FILMS if f[1] not in ("Œdipe roi", "8½")], ids=lambda f: f[1])
async def test_one_wrong_letter_anywhere_finds_a_title(
    service: MovieProcess, film: tuple[int, str, int]
) -> None:
    title = film[1]
    # A search has two characters at least.
    tried = [wrong for wrong in misspelled(title) if len(wrong) > 1]
    assert tried
    missed = [wrong for wrong in tried if title not in await searched(service, wrong)]
    assert not missed, f"{len(missed)} of {len(tried)}: {missed}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("matrx", "The Matrix"),
        ("The Matrxi", "The Matrix"),
        ("oceans elevn", "Ocean’s Eleven"),
        ("elven", "Ocean’s Eleven"),
        ("good bad uggly", "The Good, the Bad and the Ugly"),
        ("Seven", "Se7en"),
        ("wale", "WALL·E"),
        ("шталкер", "Сталкер"),
        ("друг Лапшын", "Мой друг Иван Лапшин"),
    ],
)
async def test_a_part_of_a_title_may_be_spelled_wrong(
    service: MovieProcess, query: str, expected: str
) -> None:
    assert expected in await searched(service, query)


async def test_what_is_spelled_otherwise_comes_after_what_is_spelled_so(
    movies: Movies, service: MovieProcess
) -> None:
    await movies.answers(
        answer(9100001, "Zorkan", 1980, imdbVotes="5"),
        answer(9100002, "Zorkan Returns", 1982, imdbVotes="7"),
        answer(9100003, "Zorkun", 1981, imdbVotes="900,000"),
        answer(9100004, "Return to Zorkas", 1981, imdbVotes="800,000"),
        answer(9100005, "Zorkin", 1981, imdbVotes="600,000", Type="series"),
        answer(9100006, "Unlike", 1981, imdbVotes="999,999"),
    )
    await aged(movies.stack)
    ranked = ["Zorkan", "Zorkan Returns", "Zorkun", "Zorkin", "Return to Zorkas"]
    for size in (1, 2, 3, 5, 100):
        assert await searched(service, "zorkan", size) == ranked, f"pages of {size}"
    assert await searched(service, "zorkan", year=1981) == ["Zorkun", "Zorkin", "Return to Zorkas"]
    assert await searched(service, "zorkan", type=movies_pb2.MOVIE_TYPE_SERIES) == ["Zorkin"]
