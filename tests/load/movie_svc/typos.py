"""What names, and searching for misspelled ones, cost PostgreSQL on half a million titles.

`python -m tests.load.movie_svc.typos [--titles N] [--dsn DSN]`: fills a database as the release before
left one, updates it, and explains searches. The titles are made of seeded words whose frequencies
fall as in a language.
"""

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import asyncpg

from local.stack.layout import Home
from mesh import migrations
from mesh.hedge import HedgedReads
from mesh.postgres import Postgres, PostgresConfig, connect
from movie_svc import titles as movie_titles
from movie_svc.storing import naming
from movie_svc.storing.listings import Filters, Listings
from movie_svc.storing.store import Store
from movie_svc.storing.typos import Typos
from tests.support.stacks import running

MIGRATIONS: Final = Path(migrations.__file__).parents[1] / "movie_svc" / "migrations"
BEFORE_NAMES: Final = 3
"""The last migration of the release before."""
NOW: Final = datetime.now(UTC)
_WORDS: Final = 60_000
_SCRIPTS: Final = ("bcdfghklmnprstvw", "aeiou"), ("कखगघचजटडतदनपबमयरलवशसह", "ािीुूेैोौ")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def titles(count: int) -> Iterator[str]:
    """Titles of one to six words: one of ten in Devanagari, one of ten with hyphens."""
    draw = random.Random(46)
    dictionaries = [
        sorted({"".join(draw.choice(c) + draw.choice(v) for _ in range(draw.randint(1, 4))) + draw.choice(c)
                for _ in range(_WORDS)})
        for c, v in _SCRIPTS
    ]  # fmt: skip
    for words in dictionaries:
        draw.shuffle(words)
    for number in range(count):
        words = dictionaries[number % 10 == 0]
        picked = [
            words[int(len(words) * draw.random() ** 3)] for _ in range(draw.choice((1, 2, 2, 3, 3, 4, 6)))
        ]
        joint = "-" if number % 10 == 1 else " "
        yield ("The " if draw.random() < 0.2 else "") + joint.join(picked).title()


async def fill(connection: Connection, count: int) -> None:
    """As the release before wrote them; the indexes are made again afterwards, which is faster."""
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'movies' AND indexname <> 'movies_pkey'"
    )
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['indexname']}")
    await connection.execute("CREATE TEMP TABLE made (id int, title text)")
    await connection.copy_records_to_table("made", records=list(enumerate(titles(count), 1)))
    await connection.execute("SELECT setseed(0.5)")
    await connection.execute(
        """INSERT INTO movies (id, movie, etag, source, fetch_time, fresh_until, create_time, type, title,
                               title_key, words, year, votes, genres)
           SELECT id, repeat('x', 500)::bytea, md5(id::text), 1, now(), now(), now() - interval '1 day', 1,
                  title, lower(title), to_tsvector('simple', title), 2025 - (power(random(), 2) * 100)::int,
                  (power(random(), 12) * 3000000)::int, '{drama}'
           FROM made"""
    )
    for index in indexes:
        await connection.execute(index["indexdef"])
    await connection.execute("VACUUM ANALYZE movies")


class Explaining:
    """Stands where a service's reads are, and adds up what each costs the server."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.queries = self.blocks = 0
        self.ms = 0.0

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]:
        rows = await self.connection.fetch(query, *args)
        text = await self.connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *args)
        plan = json.loads(text)[0]["Plan"]
        self.queries += 1
        self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.ms += plan["Actual Total Time"]
        return rows

    async def fetchrow(self, query: str, *args: Any, fresh: bool = False) -> asyncpg.Record | None:
        return next(iter(await self.fetch(query, *args)), None)


def misspelled(name: str, draw: random.Random) -> str:
    at = draw.randrange(1, len(name))
    kinds = (name[:at] + name[at + 1 :], name[:at] + "k" + name[at:], name[:at] + "k" + name[at + 1 :])
    return draw.choice(kinds)


async def explain(connection: Connection, samples: int) -> None:
    rows = await connection.fetch("SELECT title FROM movies ORDER BY md5(id::text) LIMIT $1", samples)
    names = [row["title"] for row in rows]
    draw = random.Random(1)
    typed = [misspelled(name, draw) for name in names]
    words = [name.split()[-1] for name in typed]
    kinds = {"exact": names, "misspelled": typed, "one misspelled word": words}
    print(f"{'':34}{'queries':>8}{'blocks':>9}{'worst':>8}{'ms':>8}{'worst':>8}{'results':>9}")
    for kind, texts in kinds.items():
        for part in ("known", "nearly", "look-up"):
            costs = []
            for text in texts:
                explaining = Explaining(connection)
                reads = cast(HedgedReads, explaining)
                pg = cast(Postgres, explaining)
                if part == "known":
                    found = (await Listings(pg, reads).search(text, Filters(), NOW, 20, None)).numbers
                elif part == "nearly":
                    found = (await Typos(reads).search(text, Filters(), NOW, 20, None, ())).numbers
                else:
                    row = await Store(pg, reads).by_title(movie_titles.keys(text), None, 0, fresh=False)
                    found = [row.number] if row else []
                costs.append((explaining.queries, explaining.blocks, explaining.ms, len(found)))
            queries, blocks, ms, results = zip(*costs, strict=True)
            print(
                f"{kind + ', ' + part:34}{sum(queries) / samples:8.1f}{sum(blocks) / samples:9.0f}"
                f"{max(blocks):8}{sum(ms) / samples:8.2f}{max(ms):8.1f}{sum(results) / samples:9.1f}"
            )


async def sizes(connection: Connection) -> None:
    rows = await connection.fetch(
        """SELECT relname, pg_relation_size(oid) / 1048576.0 AS mib FROM pg_class
           WHERE relnamespace = current_schema()::regnamespace AND pg_relation_size(oid) > 1048576
           ORDER BY relname"""
    )
    print("MiB:", ", ".join(f"{row['relname']} {row['mib']:.0f}" for row in rows))


async def measure(dsn: str, count: int, samples: int) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"statement_timeout": "0"}, command_timeout=3600)
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(MIGRATIONS.glob("*.sql"))[:BEFORE_NAMES]:
            shutil.copy(path, folder)
        await migrations.migrate(dsn, Path(folder))
    await fill(connection, count)
    await sizes(connection)
    began = time.perf_counter()
    await migrations.migrate(dsn, MIGRATIONS)
    print(f"the migration took {time.perf_counter() - began:.0f} s")
    pg = await connect(PostgresConfig(primary=dsn))
    began = time.perf_counter()
    await naming.renew_all(pg)
    print(f"making all keys took {time.perf_counter() - began:.0f} s")
    await pg.close()
    await connection.execute("VACUUM ANALYZE movies, names, vocabulary")
    await sizes(connection)
    await explain(connection, samples)
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--titles", type=int, default=500_000)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--dsn", help="an empty database, rather than a stack of its own")
    options = parser.parse_args()
    if options.dsn:
        asyncio.run(measure(options.dsn, options.titles, options.samples))
        return
    with tempfile.TemporaryDirectory() as folder, running(Home(Path(folder)), ["infra"]) as stack:
        asyncio.run(measure(stack.dsn("movie_svc"), options.titles, options.samples))


if __name__ == "__main__":
    main()
