"""Every query of movie_svc stays small on half a million titles: it reads by an index, and little of it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from local.stack.layout import Stack
from mesh import migrations, postgres
from mesh.hedge import HedgedReads
from movie_svc.storing.listings import Filters, Listings
from movie_svc.storing.store import Store
from movie_svc.storing.typos import Typos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="module")]

TITLES = 500_000
MIGRATIONS = Path(migrations.__file__).parents[1] / "movie_svc" / "migrations"
NOW = datetime.now(UTC)

# Words, votes and genres are spread as in the real world: few are everywhere, most are rare. Of IMDb's
# titles, one of seven has a hundred votes, one of 160 ten thousand. Nobody votes on those of a rare type.
FILL = """
INSERT INTO movies (id, movie, etag, source, fetch_time, fresh_until, create_time, type, title, title_key,
                    words, year, votes, box_office, genres)
SELECT id, repeat('x', 500)::bytea, md5(id::text), CASE WHEN id % 10 = 0 THEN 3 ELSE 1 END, now(),
       now() + (id % 700 - 1) * interval '1 hour', now() - interval '1 day',
       CASE WHEN id % 100 = 0 THEN 4 WHEN id % 3 = 0 THEN 3 WHEN id % 20 = 1 THEN 2 ELSE 1 END,
       words, words, to_tsvector('simple', words), year, votes, NULL, genres
FROM (
    SELECT id,
           -- Words of letters alone: digits beside letters are words of their own.
           translate(
               CASE WHEN random() < 0.25 THEN 'the ' ELSE '' END
                   || 'word' || (power(random(), 3) * 30000)::int
                   || ' word' || (power(random(), 3) * 30000)::int
                   || CASE WHEN random() < 0.02 THEN ' man' ELSE '' END,
               '0123456789', 'abcdefghij'
           ) AS words,
           CASE WHEN id % 97 = 0 THEN 0 ELSE 2025 - (power(random(), 2) * 150)::int END AS year,
           CASE WHEN id % 5 = 0 THEN -1 ELSE least(3000000, 5 * power(1 - random(), -1.5))::int END AS votes,
           CASE WHEN id % 11 = 0 THEN '{}'
                ELSE ARRAY[(ARRAY['drama', 'comedy', 'documentary', 'horror'])
                               [1 + (power(random(), 2) * 4)::int % 4],
                           CASE WHEN id % 1000 = 0 THEN 'film-noir' ELSE 'action' END] END AS genres
    FROM generate_series(1, $1::int) AS id
    ORDER BY id
) AS made"""


# One title of eight has another name; most of those differ in two letters from the first.
FILL_NAMES = """
INSERT INTO names (key, movie_id, title)
SELECT replace(title_key, 'word', 'wo rd'), id, title FROM movies WHERE id % 8 = 0"""
FILL_VOCABULARY = """
INSERT INTO vocabulary SELECT DISTINCT w FROM movies, unnest(tsvector_to_array(words)) AS w"""


@dataclass
class Recorder:
    """Stands where Postgres does, and remembers what is asked of it."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    asked: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]:
        self.asked.append((query, args))
        return await self.connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any, fresh: bool = False) -> asyncpg.Record | None:
        self.asked.append((query, args))
        return await self.connection.fetchrow(query, *args)

    async def explained(self) -> list[dict[str, Any]]:
        found = []
        for query, args in self.asked:
            text = await self.connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *args)
            found.append(json.loads(text)[0]["Plan"])
        self.asked.clear()
        return found


@dataclass
class Parts:
    recorder: Recorder
    store: Store
    listings: Listings
    typos: Typos


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(stack: Stack) -> AsyncIterator[Parts]:
    await migrations.migrate(stack.dsn("movie_svc"), MIGRATIONS)
    connection = await asyncpg.connect(
        stack.dsn("movie_svc"),
        command_timeout=600,
        # Filling the tables takes longer than a service's statement may.
        server_settings={"statement_timeout": "0"},
    )
    await connection.execute("TRUNCATE movies, names, vocabulary CASCADE")
    await connection.execute("SELECT setseed(0.5)")
    await connection.execute(FILL, TITLES)
    await connection.execute(FILL_NAMES)
    await connection.execute(FILL_VOCABULARY)
    await connection.execute("VACUUM ANALYZE movies, names, vocabulary")
    recorder = Recorder(connection)
    pg, reads = cast(postgres.Postgres, recorder), cast(HedgedReads, recorder)
    yield Parts(recorder, Store(pg, reads), Listings(pg, reads), Typos(reads))
    await connection.execute("TRUNCATE movies, names, vocabulary CASCADE")
    await connection.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


Ask = Callable[[Parts], Awaitable[Any]]


def listing(*, order: str = "imdb_votes", descending: bool = True, cursor: Any = None, **filters: Any) -> Ask:
    return lambda parts: parts.listings.list(Filters(**filters), order, descending, 20, cursor)


def search(text: str, cursor: Any = None, **filters: Any) -> Ask:
    return lambda parts: parts.listings.search(text, Filters(**filters), NOW, 20, cursor)


def nearly(text: str, cursor: Any = None, **filters: Any) -> Ask:
    return lambda parts: parts.typos.search(text, Filters(**filters), NOW, 20, cursor, [1, 2, 3])


QUERIES: dict[str, tuple[Ask, int]] = {
    # name: the question, and how many blocks of 8 KiB it may touch
    "get one": (lambda p: p.store.get_many([4711]), 20),
    "get a hundred": (lambda p: p.store.get_many(range(1000, 200_000, 2000)), 1000),
    "look a title up": (lambda p: p.store.by_title(["wordbh worde", "wo"], None, 0, fresh=False), 100),
    "look a title of a year up": (lambda p: p.store.by_title(["wordbh worde"], 1999, 1, fresh=False), 100),
    "due": (lambda p: p.store.due(1), 3000),
    "all": (listing(), 200),
    "all, far behind": (listing(cursor=[0, 250_000]), 200),
    "by title": (listing(order="title", descending=False), 200),
    "by title, far behind": (listing(order="title", descending=False, cursor=["wordcaaaa", 7]), 200),
    "by year": (listing(order="year"), 200),
    "by year, far behind": (listing(order="year", cursor=[1960, 250_000]), 200),
    "a genre that many have": (listing(genre="Drama"), 1000),
    "a genre that many have, by title": (listing(genre="Drama", order="title", descending=False), 1000),
    "a genre that few have": (listing(genre="Film-Noir"), 3000),
    "a genre that nobody has": (listing(genre="Nothing"), 200),
    "a decade": (listing(first_year=1990, last_year=1999), 3000),
    "a rare decade": (listing(first_year=1870, last_year=1879), 12_000),
    "a year": (listing(first_year=1910, last_year=1910), 200),
    "a year by title": (listing(first_year=1999, last_year=1999, order="title"), 12_000),
    "a rare type": (listing(type=4), 200),
    "a genre, decade and type": (listing(genre="Comedy", first_year=1980, last_year=1989, type=1), 6000),
    "a genre, decade and type that few have": (
        listing(genre="Film-Noir", first_year=1940, last_year=1949, type=2), 6000),
    "search a rare word": (search("wordcjaaa"), 300),
    "search a word that many have": (search("the"), 1000),
    "search a word that many have, far behind": (search("the", [1, 0, 250_000]), 3000),
    "search a word that some have": (search("man"), 500),
    "search two words": (search("the wordbh"), 500),
    "search the beginning of a word": (search("wordcjjj"), 1000),
    "search the beginning of very many words": (search("wo"), 2000),
    "search a word of a year": (search("the", first_year=1999, last_year=1999), 3000),
    "search a word of a type": (search("man", type=2), 3000),
    "search what nobody has": (search("the xyzzy"), 500),
    "nearly a rare word": (nearly("wrdcjaaa"), 6000),
    "nearly two words": (nearly("the wrdbh worddcjaaa"), 6000),
    "nearly a short title": (nearly("mn"), 3000),
    "nearly one of many": (nearly("wrodbh worde"), 12_000),
    "nearly what nobody has": (nearly("xyzzy"), 500),
    "nearly, of a year": (nearly("wrdcjaaa", first_year=1999, last_year=1999), 6000),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
async def test_queries_read_little(parts: Parts, name: str) -> None:
    ask, most = QUERIES[name]
    await ask(parts)
    for plan in await parts.recorder.explained():
        scans = [
            n for n in nodes(plan) if n.get("Relation Name") == "movies" and n["Node Type"] == "Seq Scan"
        ]
        touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        print(f"{name}: {touched} blocks, {plan['Actual Total Time']:.1f} ms")
        assert not scans, f"{name} reads the whole table"
        assert touched <= most, f"{name} touches {touched} blocks: {json.dumps(plan)[:3000]}"


async def test_pages_cover_everything_once(parts: Parts) -> None:
    """Following the pages of a list returns what one query without pages returns, in that order."""
    filters = Filters(genre="film-noir")
    rows = await parts.recorder.connection.fetch(
        "SELECT id FROM movies WHERE 'film-noir' = ANY(genres) ORDER BY votes DESC, id DESC"
    )
    found: list[int] = []
    cursor = None
    while True:
        page = await parts.listings.list(filters, "imdb_votes", True, 37, cursor)
        found += page.numbers
        cursor = page.cursor
        if cursor is None:
            break
    assert found == [row["id"] for row in rows]
    assert len(found) > 400


async def test_pages_of_a_search_cover_everything_once(parts: Parts) -> None:
    rows = await parts.recorder.connection.fetch(
        "SELECT id FROM movies WHERE words @@ '''man'' & ''wordb'':*'::tsquery"
    )
    found: list[int] = []
    cursor = None
    while True:
        page = await parts.listings.search("man wordb", Filters(), NOW, 50, cursor)
        found += page.numbers
        cursor = page.cursor
        if cursor is None:
            break
    assert len(found) == len(set(found))
    assert set(found) == {row["id"] for row in rows}
    assert len(found) > 500
