"""The SQL that searches and lists titles: each page in one round trip, found by key and not by offset."""

# ruff: noqa: S608 - what is put into statements is fixed text; values are parameters

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mesh.hedge import HedgedReads
from mesh.postgres import Postgres
from movie_svc import titles
from movie_svc.storing.entries import Entry
from movie_svc.storing.store import ENTRY, entry

# How well known titles are, by votes: each level has an index of its own for words, and some eight times
# as many titles as the one above it. As in the migration that made these indexes.
_LEVELS: Final = ((100_000, None), (10_000, 100_000), (500, 10_000), (None, 500))
_NEAR: Final = 2000
"""So many titles of the last level are looked at in the order of their votes, for who pages that far."""
_EXACT: Final = """
SELECT id FROM movies WHERE title_key = ANY ((SELECT {keys}::text[])::text[])
UNION SELECT movie_id FROM names WHERE key = ANY ((SELECT {keys}::text[])::text[])"""
_COLUMNS: Final = "id, movie, etag, source, fetch_time, fresh_until, votes"

ORDERS: Final = {"title": "title_key", "year": "year", "imdb_votes": "votes"}


@dataclass(frozen=True, slots=True)
class Filters:
    """What titles are restricted to."""

    genre: str = ""
    first_year: int | None = None
    last_year: int | None = None
    type: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page, and where the next one starts; None after the last."""

    entries: Sequence[Entry]
    numbers: Sequence[int]
    cursor: list[Any] | None


@dataclass(frozen=True, slots=True)
class SearchedPage:
    """A page of OMDb's search results, as it was answered before."""

    total: int
    numbers: Sequence[int]


class Query:
    """Collects conditions and their parameters."""

    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self.conditions: list[str] = []

    def add(self, value: object) -> str:
        """The placeholder of a value."""
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def restrict(self, filters: Filters) -> None:
        if filters.genre:
            self.conditions.append(f"genres @> ARRAY[{self.add(filters.genre.casefold())}::text]")
        if filters.first_year is not None and filters.first_year == filters.last_year:
            # Only an equality lets an index that begins with the year give the order too.
            self.conditions.append(f"year = {self.add(filters.first_year)}::smallint")
        elif filters.first_year is not None and filters.last_year is not None:
            years = f"{self.add(filters.first_year)}::smallint AND {self.add(filters.last_year)}::smallint"
            self.conditions.append(f"year BETWEEN {years}")
        if filters.type:
            self.conditions.append(f"type = {self.add(filters.type)}::smallint")

    def match(self, text: str, before: datetime, *, negate: bool = False) -> None:
        """Only titles known before a time that matched a text then, or with `negate` did not."""
        # Not to_tsquery, which finds words by rules of its own. Out of a subquery, so that no plan depends on
        # the words: PostgreSQL keeps one then, and does not plan each search.
        words, at = f"{self.add(matching(text))}::text::tsquery", self.add(before)
        then = f"(named IS NULL OR named <= {at} OR words_before @@ {words})"
        matched = (f"words @@ (SELECT {words})", then)
        self.conditions += [f"NOT ({' AND '.join(matched)})"] if negate else matched
        self.conditions.append(f"create_time <= {at}")

    def where(self, *more: str) -> str:
        conditions = [*self.conditions, *more]
        return f"WHERE {' AND '.join(conditions)}" if conditions else ""


class Listings:
    """Searches and lists what PostgreSQL has."""

    def __init__(self, postgres: Postgres, reads: HedgedReads) -> None:
        self._pg = postgres
        self._reads = reads

    async def list(
        self, filters: Filters, order: str, descending: bool, size: int, cursor: Sequence[Any] | None
    ) -> Page:
        """A page of titles in the order of `title`, `year` or `imdb_votes`; unknown ones count as lowest."""
        column = ORDERS[order]
        query = Query()
        query.restrict(filters)
        if cursor is not None:
            at, number = query.add(cursor[0]), query.add(cursor[1])
            cast = "text" if column == "title_key" else "int"
            compare = "<" if descending else ">"
            query.conditions.append(f"({column}, id) {compare} ({at}::{cast}, {number}::int)")
        direction = "DESC" if descending else "ASC"
        rows = await self._reads.fetch(
            f"""SELECT {ENTRY}, {column} AS at FROM movies {query.where()}
                ORDER BY {column} {direction}, id {direction} LIMIT {query.add(size + 1)}""",
            *query.parameters,
        )
        last = [rows[size - 1]["at"], rows[size - 1]["id"]] if len(rows) > size else None
        return Page([entry(row) for row in rows[:size]], [row["id"] for row in rows[:size]], last)

    async def search(
        self, text: str, filters: Filters, before: datetime, size: int, cursor: Sequence[int] | None
    ) -> Page:
        """A page of titles that hold all the words, the last one perhaps only begun; known `before` a time.

        Titles of exactly these words come first, then the best known.
        """
        if not titles.words(text):
            return Page([], [], None)
        query = Query()
        statement = _search(query, text, filters, before, size + 1, cursor)
        rows = await self._reads.fetch(statement, *query.parameters)
        last = rows[size - 1] if len(rows) > size else None
        return Page(
            [entry(row) for row in rows[:size]],
            [row["id"] for row in rows[:size]],
            [last["place"], last["votes"], last["id"]] if last else None,
        )

    async def already_found(
        self, text: str, filters: Filters, before: datetime, numbers: Sequence[int]
    ) -> set[int]:
        """Which of the numbers `search` returns on one of its pages."""
        if not titles.words(text) or not numbers:
            return set()
        query = Query()
        query.restrict(filters)
        query.match(text, before)
        rows = await self._reads.fetch(
            f"SELECT id FROM movies {query.where(f'id = ANY({query.add(list(numbers))}::int[])')}",
            *query.parameters,
        )
        return {row["id"] for row in rows}

    async def searched(
        self, query: str, year: int | None, kind: int, page: int, *, fresh: bool
    ) -> SearchedPage | None:
        """A page of OMDb's results, if it was asked for recently."""
        row = await self._reads.fetchrow(
            """SELECT total, movie_ids FROM searches
               WHERE query = $1 AND year = $2 AND type = $3 AND page = $4 AND fresh_until > now()""",
            query,
            year or 0,
            kind,
            page,
            fresh=fresh,
        )
        return SearchedPage(row["total"], row["movie_ids"]) if row else None

    async def all_searched(self, query: str, year: int | None, kind: int) -> Sequence[int]:
        """All that OMDb found of a search, as far as it was asked for recently."""
        numbers: Sequence[int] | None = await self._reads.fetchval(
            """SELECT array_agg(number) FROM searches, unnest(movie_ids) AS number
               WHERE query = $1 AND year = $2 AND type = $3 AND fresh_until > now()""",
            query,
            year or 0,
            kind,
            # A replica may not have the last page yet.
            fresh=True,
        )
        return numbers or ()

    async def remember_search(
        self,
        query: str,
        year: int | None,
        kind: int,
        page: int,
        result: SearchedPage,
        fresh_until: datetime,
    ) -> None:
        async with self._pg.write() as connection:
            await connection.execute(
                """INSERT INTO searches (query, year, type, page, total, movie_ids, fresh_until)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (query, year, type, page)
                   DO UPDATE SET total = $5, movie_ids = $6, fresh_until = $7""",
                query,
                year or 0,
                kind,
                page,
                result.total,
                list(result.numbers),
                fresh_until,
            )


def _search(
    query: Query, text: str, filters: Filters, before: datetime, limit: int, cursor: Sequence[int] | None
) -> str:
    """The statement of a search, whose parameters are those of `query`.

    Level by level of how well known titles are, and no further than the page needs: so a word that very many
    titles hold costs no more in a large catalogue. Else all of them would be read and sorted, or, where the
    planner takes a rare word for a frequent one, all titles be looked at in the order of their votes.
    """
    query.restrict(filters)
    query.match(text, before)
    exact = _EXACT.format(keys=query.add(_exact_keys(text)))
    after = [f"(votes, id) < ({query.add(cursor[1])}::int, {query.add(cursor[2])}::int)"] if cursor else []
    tables = {"exact": exact}
    found = ""

    def add(name: str, source: str, place: int, *conditions: str) -> None:
        """A table of what was found before and, if that does not do, the best known titles of a source."""
        nonlocal found
        enough = [f"(SELECT count(*) FROM {found}) < {limit}"] if found else []
        where = " AND ".join([*enough, *conditions]) or "true"
        best = (
            f"SELECT {_COLUMNS}, {place} AS place FROM ({source}) AS known WHERE {where} "
            f"ORDER BY votes DESC, id DESC LIMIT {limit}"
        )
        tables[name] = f"TABLE {found} UNION ALL ({best})" if found else best
        found = name

    def matched(*more: str) -> str:
        # OFFSET 0: so that they are found by their words, and not by looking at all in the order of votes.
        return f"SELECT {_COLUMNS} FROM movies {query.where(*more)} OFFSET 0"

    others = "id <> ALL (ARRAY(TABLE exact))"
    if cursor is None or cursor[0] == 0:
        add("named", matched("id = ANY (ARRAY(TABLE exact))", *after), 0)
        after = []
    for number, (least, below) in enumerate(_LEVELS):
        if after and cursor is not None and least is not None and least > cursor[1]:
            continue
        level = [f"votes >= {least}"] if least is not None else []
        level += [f"votes < {below}"] if below is not None else []
        more = [others]
        if cursor is not None and least is None:
            # Whoever comes here page by page asks for a word that many hold: the next ones are near.
            where = " AND ".join([*level, *after])
            near = f"SELECT * FROM movies WHERE {where} ORDER BY votes DESC, id DESC LIMIT {_NEAR}"
            add("near", near, 1, others, *query.conditions)
            more.append("id <> ALL (ARRAY(SELECT id FROM near))")
        add(f"level_{number}", matched(*level, *after), 1, *more)
    listed = ", ".join(f"{name} AS MATERIALIZED ({table})" for name, table in tables.items())
    return (
        f"WITH {listed} SELECT {ENTRY}, votes, place FROM {found} "
        f"ORDER BY place, votes DESC, id DESC LIMIT {limit}"
    )


def matching(text: str) -> str:
    """The tsquery of titles that hold all words of a text, the last one perhaps only begun.

    Words are letters and digits only: none can end the quotes.
    """
    each = [
        " & ".join([*(f"'{word}'" for word in form[:-1]), f"'{form[-1]}':*"])
        for form in titles.forms(text)
        if form
    ]
    return " | ".join(f"({one})" for one in dict.fromkeys(each))


def _exact_keys(text: str) -> list[str]:
    """The title keys that count as exactly this text: an article may be left out."""
    keys = titles.keys(text)
    return [*keys, *(f"{key}, {article}" for key in keys for article in titles.LEADING)]
