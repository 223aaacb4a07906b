"""How the cost grows with what there is: `python -m tests.load.system.growth`.

    --sizes 10000:100000,100000:1000000,1000000:10000000     movies and ratings of each step
    --seconds 3, --rounds 2                                  as `tests.load.system.bench`
    --folder FOLDER                                          filled meshes are kept here, and used again
    --json FILE                                              the figures, for `docs/performance.md`

For each step a mesh of its own is filled with made-up titles, by movie_svc's own import of OMDb's answers,
and with made-up ratings, which are put into the database of rating_svc with their aggregates in that of
ranking_svc. Movies are rated as Zipf's law has it with an exponent of 2/3: the movie of rank r as often as
r^(-2/3). The same seed makes the same titles and ratings each time. The mesh is then started again, which is
measured too, verified (each aggregate against a recount), and asked what `tests.load.system.bench` asks, but
for movies of the whole catalogue. Needs some 20 GB of disk for the largest step.
"""

import argparse
import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import uvloop

from local.commands import loadtest
from local.commands import movies as movies_command
from local.stack.layout import Home, Stack
from tests.load.ranking_svc.rig import GENRES
from tests.load.system.bench import Bench, figures, kinds
from tests.support.stacks import running

SIZES = "10000:100000,100000:1000000,1000000:10000000"
RATINGS_OF_A_USER = 100
VOCABULARY = 20_000
ASKED = 100_000
"""Of a larger catalogue, so many of the best known movies are asked for."""
SYLLABLES = [
    "ba",
    "con",
    "der",
    "el",
    "fin",
    "gor",
    "ha",
    "is",
    "jo",
    "kal",
    "lu",
    "mer",
    "no",
    "or",
    "pra",
    "ten",
]
CONSUMED_S = 3600
_RATINGS = """
INSERT INTO ratings (user_id, movie_id, score, create_time, update_time, log_epoch, log_offset)
SELECT DISTINCT ON (u, movie) 'grown-' || u, movie,
       greatest(1, least(10, round(6.8 + 4 * (random() + random() - 1))::int)),
       at, at, (SELECT min(epoch) FROM submission_log), 0
FROM (SELECT u, 1 + floor($3::float8 * random() ^ 3)::int AS movie,
             now() - random() * interval '365 days' AS at
      FROM generate_series($1::int, $2::int) AS u, generate_series(1, $4::int)) AS drawn"""
_SCORES = """
SELECT movie_id, score, count(*)::int FROM ratings WHERE score IS NOT NULL
GROUP BY movie_id, score ORDER BY movie_id"""
_SIZES = """
SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid) FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema'"""


def words() -> list[str]:
    """The vocabulary of titles, the most frequent word first."""
    dice = random.Random("words")
    return ["".join(dice.choices(SYLLABLES, k=dice.randint(2, 4))) for _ in range(VOCABULARY)]


def answers(movies: int) -> Iterator[dict[str, str]]:
    """Made-up answers of OMDb, the best known title first."""
    dice, known = random.Random("titles"), words()

    def some(least: int, most: int) -> str:
        chosen = (known[int(VOCABULARY * dice.random() ** 3)] for _ in range(dice.randint(least, most)))
        return " ".join(chosen)

    for number in range(1, movies + 1):
        yield {
            "Title": some(2, 5).title(),
            "Year": str(2025 - int(dice.expovariate(0.05)) % 120),
            "Rated": "PG-13",
            "Released": "N/A",
            "Runtime": f"{dice.randint(60, 200)} min",
            "Genre": ", ".join(dict.fromkeys(dice.choices(GENRES, range(len(GENRES), 0, -1), k=3))),
            "Director": some(2, 2).title(),
            "Writer": some(2, 2).title(),
            "Actors": ", ".join(some(2, 2).title() for _ in range(4)),
            "Plot": some(15, 40) + ".",
            "Language": "English",
            "Country": "USA",
            "Awards": "N/A",
            "Poster": "N/A",
            "Ratings": [],  # type: ignore[dict-item]
            "Metascore": "N/A",
            "imdbRating": f"{dice.uniform(2, 9):.1f}",
            # Of a million titles, as IMDb's: one of seven has a hundred, one of 160 ten thousand.
            "imdbVotes": f"{min(3_000_000, int(5 * (1_000_000 / number) ** 1.5)):,}",
            "imdbID": f"tt{number:07}",
            "Type": "movie",
            "DVD": "N/A",
            "BoxOffice": f"${dice.randint(1000, 500_000_000):,}" if dice.random() < 0.2 else "N/A",
            "Production": "N/A",
            "Website": "N/A",
            "Response": "True",
        }


async def fill(stack: Stack, movies: int, ratings: int) -> dict[str, float]:
    """Fills the mesh; returns how many seconds each part took."""
    took: dict[str, float] = {}
    began = time.perf_counter()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for answer in answers(movies):
            file.write(json.dumps(answer) + "\n")
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *movies_command.command("import", file.name), env=movies_command.environment(stack)
        )
        assert await process.wait() == 0
    took["import of titles"] = time.perf_counter() - began

    began = time.perf_counter()
    rating_db = await asyncpg.connect(stack.dsn("rating_svc"), command_timeout=CONSUMED_S)
    users, step = ratings // RATINGS_OF_A_USER, 2000
    await rating_db.execute("SELECT setseed(0.5)")
    for first in range(1, users + 1, step):
        last = min(users, first + step - 1)
        await rating_db.execute(_RATINGS, first, last, movies, RATINGS_OF_A_USER)
    await rating_db.execute("ANALYZE ratings")
    counts: dict[int, list[int]] = {}
    for movie, score, count in await rating_db.fetch(_SCORES):
        counts.setdefault(movie, [0] * 10)[score - 1] = count
    await rating_db.close()
    took["ratings"] = time.perf_counter() - began

    began = time.perf_counter()
    await _put_scores(stack, counts)
    await _facts(stack, len(counts))
    took["facts of rated movies"] = time.perf_counter() - began
    return took


async def _put_scores(stack: Stack, counts: dict[int, list[int]]) -> None:
    dice, now = random.Random("heats"), time.time()

    def row(movie: int, histogram: Sequence[int]) -> tuple[object, ...]:
        at = now - dice.expovariate(1e-6)
        return movie, *histogram, *(math.log2(sum(histogram)) + at / (d * 86_400) for d in (1, 7, 30))

    connection = await asyncpg.connect(stack.dsn("ranking_svc"), command_timeout=CONSUMED_S)
    columns = ["movie", *(f"h{score}" for score in range(1, 11)), "heat_day", "heat_week", "heat_month"]
    records = [row(movie, histogram) for movie, histogram in counts.items()]
    await connection.copy_records_to_table("scores", records=records, columns=columns)
    await connection.execute("ANALYZE scores")
    await connection.close()


async def _facts(stack: Stack, rated: int) -> None:
    """Waits until ranking_svc has heard of all titles."""
    connection = await asyncpg.connect(stack.dsn("ranking_svc"))
    missing = (
        "SELECT count(*) FROM scores WHERE NOT EXISTS (SELECT FROM facts WHERE facts.movie = scores.movie)"
    )
    end = time.monotonic() + CONSUMED_S
    while left := await connection.fetchval(missing):
        print(f"{left:,} of {rated:,} rated movies have no facts yet", flush=True)
        assert time.monotonic() < end
        await asyncio.sleep(5)
    await connection.execute("ANALYZE facts")
    await connection.close()


async def measure(stack: Stack, movies: int, seconds: float, rounds: int) -> dict[str, object]:
    """What the filled mesh costs."""
    known = [f"tt{number:07}" for number in range(1, min(movies, ASKED) + 1)]
    chosen = kinds(known, words()[:50])
    await Bench(stack, 32, seconds).run(chosen, known, rounds, 0)
    memory = {name: used.memory_bytes for name, used in loadtest.used(loadtest.pids(stack)).items()}
    found: dict[str, int] = {}
    for service in ("movie_svc", "rating_svc", "ranking_svc"):
        connection = await asyncpg.connect(stack.dsn(service))
        found |= dict(await connection.fetch(_SIZES))
        await connection.close()
    log = sum(path.stat().st_size for path in stack.home.data(stack.shape).glob("kafka*/**/*.log"))
    return {
        "requests": {kind.name: figures(kind) for kind in chosen},
        "memory_bytes": memory,
        "table_bytes": found,
        "log_bytes": log,
    }


def command(home: Home, *words: str) -> float:
    """Runs a command of `marquee` on the mesh; returns how many seconds it took."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "local", *words],
        env={**os.environ, "MARQUEE_HOME": str(home.root)},
        check=True,
    )
    return time.perf_counter() - began


def step(folder: Path, movies: int, ratings: int, seconds: float, rounds: int) -> dict[str, object]:
    """One size, in a folder of its own, from an empty mesh if that was not filled before."""
    home = Home(folder / f"{movies}-{ratings}")
    filled = home.root / "filled.json"
    if not filled.exists():
        with running(home, []) as mesh:
            took = uvloop.run(fill(mesh, movies, ratings))
        filled.write_text(json.dumps(took))
    began = time.perf_counter()
    with running(home, []) as mesh:
        started = time.perf_counter() - began
        verified = command(home, "verify")
        found = uvloop.run(measure(mesh, movies, seconds, rounds))
    return {
        "movies": movies,
        "ratings": ratings,
        "fill_s": json.loads(filled.read_text()),
        "start_s": started,
        "verify_s": verified,
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.load.system.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = arguments.folder or Path(temporary)
        for size in arguments.sizes.split(","):
            movies, _, ratings = size.partition(":")
            found.append(step(folder, int(movies), int(ratings), arguments.seconds, arguments.rounds))
            print(json.dumps(found[-1], indent=1), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
