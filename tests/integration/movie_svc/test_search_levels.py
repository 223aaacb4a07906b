"""Searches look at titles level by level of how well known they are (movie_svc/storing/listings.py)."""

from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from local.stack.layout import Stack
from mesh.hedge import HedgedReads
from mesh.postgres import Postgres
from movie_svc.storing.listings import Filters, Listings
from tests.support.movies import MovieProcess
from tests.support.titles import Movies, aged, answer, connected, searched

pytestmark = pytest.mark.asyncio(loop_scope="module")

# At the borders of the levels, two titles with as many votes, and one of which no votes are known.
VOTES = (3_000_000, 100_000, 100_000, 99_999, 10_000, 9_999, 500, 499, 5)
NUMBERS = range(8_000_001, 8_000_001 + len(VOTES))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lanterns(movies: Movies) -> list[str]:
    """Titles that hold one word, in the order in which a search finds them."""
    titles = [f"Lantern {number}" for number in NUMBERS]
    films = zip(NUMBERS, titles, VOTES, strict=True)
    await movies.answers(
        *(answer(number, title, 1999, imdbVotes=f"{votes:,}") for number, title, votes in films),
        answer(8_000_100, "Lantern without Votes", 1999),
        answer(8_000_101, "Lantern", 1950, imdbVotes="7"),
        answer(8_000_102, "The Lantern", 1960, imdbVotes="12,000"),
        answer(8_000_103, "Lantern of a Year", 1980, imdbVotes="200"),
    )
    await aged(movies.stack)
    by_votes = sorted(zip(VOTES, NUMBERS, titles, strict=True), reverse=True)
    known = [title for _, _, title in by_votes]
    known.insert(len(known) - 1, "Lantern of a Year")
    return ["The Lantern", "Lantern", *known, "Lantern without Votes"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_pages_go_through_all_levels(lanterns: list[str], service: MovieProcess, size: int) -> None:
    assert await searched(service, "lantern", size) == lanterns
    assert await searched(service, "lant", size) == [*sorted_by_votes(lanterns), lanterns[-1]]


def sorted_by_votes(lanterns: list[str]) -> list[str]:
    """As found by a word that is none of the titles' names: "The Lantern" has 12,000 votes, "Lantern" 7."""
    known = lanterns[2:-1]
    place = known.index("Lantern 8000005")
    return [*known[:place], "The Lantern", *known[place:-1], "Lantern", known[-1]]


async def test_filters_hold_in_all_levels(lanterns: list[str], service: MovieProcess) -> None:
    assert await searched(service, "lantern", 2, year=1980) == ["Lantern of a Year"]
    assert await searched(service, "lantern", 2, year=1950) == ["Lantern"]
    assert "The Lantern" not in await searched(service, "lantern", 2, year=1999)


class Recorder:
    """Stands where Postgres does, and remembers what it was asked."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection
        self.asked: set[str] = set()

    async def fetch(self, query: str, *arguments: Any, fresh: bool = False) -> list[asyncpg.Record]:
        self.asked.add(query)
        return await self.connection.fetch(query, *arguments)


async def test_searches_are_not_planned_again_and_again(lanterns: list[str], stack: Stack) -> None:
    connection = await connected(stack)
    try:
        recorder = Recorder(connection)
        listings = Listings(cast(Postgres, recorder), cast(HedgedReads, recorder))
        for number in range(20):
            text = "lantern" if number % 2 else f"word{number}"
            await listings.search(text, Filters(), datetime.now(UTC), 20, None)
        (query,) = recorder.asked
        row = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", query
        )
    finally:
        await connection.close()
    assert row is not None
    assert row["generic_plans"] > row["custom_plans"]
