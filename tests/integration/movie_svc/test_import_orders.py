"""A full answer of OMDb's replaces any partial record, whichever came first and whatever their files' times.

Files come in as people bring them: by `marquee movies` on the running stack.
"""

import asyncio
import csv
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from marquee.movies.v1 import events_pb2, movies_pb2

from local.stack.layout import Stack
from tests.support.clients import delete_keys
from tests.support.command import run
from tests.support.movies import MovieProcess, Omdb
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MATRIX = 133093
LONG_AGO, TOMORROW = 1_000_000_000, 4_000_000_000
GROSS = 760_507_625


class Files:
    """Files as people have them, and the command that imports them."""

    def __init__(self, stack: Stack, folder: Path, sql: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.stack, self.folder, self.sql = stack, folder, sql
        self.movies, self.links = folder / "movies.csv", folder / "links.csv"

    def write_catalogue(self, *numbers: int) -> None:
        rows = [[str(n), f"Tale {n}, The (1999)", "Drama"] for n in numbers]
        self._csv(self.movies, ["movieId", "title", "genres"], rows)
        self._csv(self.links, ["movieId", "imdbId", "tmdbId"], [[str(n), f"{n:07d}", ""] for n in numbers])

    def write_answers(self, name: str, *numbers: int, written: int, **fields: Any) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(_answer(n, **fields)) + "\n" for n in numbers))
        os.utime(path, (written, written))
        return path

    async def catalogue(self, *numbers: int) -> str:
        self.write_catalogue(*numbers)
        return await self.marquee("import-catalogue", f"--movies={self.movies}", f"--links={self.links}")

    async def answers(self, name: str, *numbers: int, written: int, **fields: Any) -> str:
        return await self.marquee(
            "import", str(self.write_answers(name, *numbers, written=written, **fields))
        )

    async def marquee(self, *words: str) -> str:
        done = await asyncio.to_thread(run, self.stack.home, "movies", *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    async def stored(self, number: int) -> movies_pb2.Movie:
        raw = await self.sql.fetchval("SELECT movie FROM movies WHERE id = $1", number)
        assert raw is not None, f"{number} is not stored"
        return movies_pb2.Movie.FromString(raw)

    async def events(self) -> list[events_pb2.MovieChanged]:
        """What waits for the relay, which does not run unless movie_svc serves."""
        rows = await self.sql.fetch("SELECT event FROM outbox ORDER BY id")
        return [events_pb2.MovieChanged.FromString(row["event"]) for row in rows]

    @staticmethod
    def _csv(path: Path, head: list[str], rows: list[list[str]]) -> None:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])


def _answer(number: int, **fields: Any) -> dict[str, Any]:
    usual = {
        "Title": f"The Tale {number}",
        "Year": "1999",
        "Plot": "From the file.",
        "Director": "A. Director",
        "Poster": "https://posters.example/p.jpg",
        "BoxOffice": f"${GROSS:,}",
        "imdbID": f"tt{number:07d}",
        "Type": "movie",
        "Response": "True",
    }
    return {**usual, **fields}


def assert_full(movie: movies_pb2.Movie, plot: str = "From the file.") -> None:
    assert movie.source == movies_pb2.SOURCE_OMDB
    assert movie.plot == plot
    assert movie.poster_uri
    assert [credit.person for credit in movie.directors] == ["A. Director"]


@pytest_asyncio.fixture(loop_scope="module")
async def files(stack: Stack, tmp_path: Path) -> AsyncIterator[Files]:
    sql = await asyncpg.connect(stack.dsn("movie_svc"))
    if await sql.fetchval("SELECT to_regclass('movies')") is not None:
        await sql.execute(
            "TRUNCATE movies, names, vocabulary, answers, absent, lookups, searches, outbox, imports"
        )
    await delete_keys(stack, "movie_svc", "movie:*")
    yield Files(stack, tmp_path, sql)
    await sql.close()


@pytest.mark.parametrize("written", [LONG_AGO, TOMORROW])
async def test_answers_complete_a_catalogue_whatever_the_files_time(files: Files, written: int) -> None:
    await files.catalogue(1, 2)
    before = await files.sql.fetchval("SELECT now()")
    assert "2 changed" in await files.answers("answers.jsonl", 1, 2, written=written)
    for number in (1, 2):
        assert_full(await files.stored(number))
    assert await files.sql.fetchval("SELECT count(*) FROM answers") == 2
    last = (await files.events())[-1]
    assert last.movie.box_office_usd == GROSS
    # Who keeps the last event by its time must take this one for the last: the contract says "stored".
    assert last.change_time.ToDatetime(before.tzinfo) >= before


@pytest.mark.parametrize("written", [LONG_AGO, TOMORROW])
async def test_a_catalogue_leaves_answers_as_they_are(files: Files, written: int) -> None:
    await files.answers("answers.jsonl", 1, written=written)
    assert "0 changed" in await files.catalogue(1)
    assert_full(await files.stored(1))


async def test_of_two_answers_the_newer_file_stands_in_either_order(files: Files) -> None:
    await files.answers("old.jsonl", 1, written=LONG_AGO, Plot="Old.")
    await files.answers("new.jsonl", 1, 2, written=LONG_AGO + 1, Plot="New.")
    await files.answers("older.jsonl", 2, written=LONG_AGO, Plot="Older.")
    for number in (1, 2):
        assert_full(await files.stored(number), "New.")


async def test_answers_complete_what_a_search_has_found(files: Files, stack: Stack, omdb: Omdb) -> None:
    async with MovieProcess(stack, files.folder) as replica:
        request = movies_pb2.SearchMoviesRequest(query="matrix", page_size=1)
        found = (await replica.stub.SearchMovies(request, timeout=10)).movies[0]
        assert found.source == movies_pb2.SOURCE_OMDB_SEARCH
        number = int(found.name.removeprefix("movies/tt"))
        await files.answers("answers.jsonl", number, written=LONG_AGO)
        assert_full(await eventually(lambda: _full(replica, found.name)))


async def _full(replica: MovieProcess, name: str) -> movies_pb2.Movie | None:
    """What readers get, once it is OMDb's full answer."""
    movie = await replica.get(name)
    return movie if movie.source == movies_pb2.SOURCE_OMDB else None


async def test_what_people_read_of_a_catalogue_is_asked_of_omdb(
    files: Files, stack: Stack, omdb: Omdb
) -> None:
    """It, and not only the title whose turn it is: of equal votes, the one with the highest id."""
    await files.catalogue(MATRIX, *range(9_000_001, 9_000_011))
    async with MovieProcess(stack, files.folder) as replica:
        name = f"movies/tt{MATRIX:07d}"
        assert (await replica.get(name)).source == movies_pb2.SOURCE_CATALOGUE
        movie = await eventually(lambda: _full(replica, name))
        assert movie.plot
        assert (await omdb.calls())["i"] <= 2


async def test_what_omdb_has_just_said_stands_and_an_absence_does_not(
    files: Files, stack: Stack, omdb: Omdb
) -> None:
    absent = "movies/tt0999999"
    async with MovieProcess(stack, files.folder) as replica:
        live = await replica.get(f"movies/tt{MATRIX:07d}")
        with pytest.raises(grpc.aio.AioRpcError):
            await replica.get(absent)
        await eventually(lambda: files.sql.fetchval("SELECT count(*) = 1 FROM absent"))
        await eventually(lambda: files.sql.fetchval("SELECT count(*) = 1 FROM movies"))
        await files.answers("answers.jsonl", MATRIX, 999999, written=LONG_AGO)
        assert (await files.stored(MATRIX)).plot == live.plot

        async def found() -> movies_pb2.Movie | None:
            try:
                return await replica.get(absent)
            except grpc.aio.AioRpcError:
                return None

        assert_full(await eventually(found))


async def test_a_title_is_found_that_omdb_denied_while_it_was_stored(files: Files, stack: Stack) -> None:
    await files.answers("answers.jsonl", 1, written=LONG_AGO)
    await files.sql.execute(
        "INSERT INTO absent (id, reason, fetch_time, fresh_until) VALUES (1, 'x', now(), now() + '1 day')"
    )
    async with MovieProcess(stack, files.folder, MARQUEE_OMDB_MODE="off") as replica:
        assert_full(await replica.get("movies/tt0000001"))


async def test_three_importers_at_once_end_as_one_after_the_other(files: Files) -> None:
    numbers = range(1, 3001)
    files.write_catalogue(*numbers)
    answers = str(files.write_answers("answers.jsonl", *numbers, written=LONG_AGO))
    backwards = str(files.write_answers("backwards.jsonl", *reversed(numbers), written=LONG_AGO))
    catalogue = ("import-catalogue", f"--movies={files.movies}", f"--links={files.links}")
    await asyncio.gather(
        files.marquee(*catalogue), files.marquee("import", answers), files.marquee("import", backwards)
    )
    rows = await files.sql.fetch("SELECT movie FROM movies")
    assert len(rows) == len(numbers)
    for row in rows:
        assert_full(movies_pb2.Movie.FromString(row["movie"]))
    last = {event.movie.name: event.movie.box_office_usd for event in await files.events()}
    assert set(last.values()) == {GROSS}


async def test_an_import_outlasts_who_holds_its_titles_for_longer_than_a_caller_would_wait(
    files: Files,
) -> None:
    await files.catalogue(1)
    holder = files.sql.transaction()
    await holder.start()
    await files.sql.execute("SELECT FROM movies WHERE id = 1 FOR UPDATE")
    path = files.write_answers("answers.jsonl", 1, written=LONG_AGO)
    importing = asyncio.create_task(files.marquee("import", str(path)))
    await eventually(lambda: _waiting(files, True), 60)
    # PostgreSQL has ended the wait.
    await eventually(lambda: _waiting(files, False), 60)
    await holder.rollback()
    assert "1 changed" in await importing
    assert_full(await files.stored(1))


async def _waiting(files: Files, wanted: bool) -> bool:
    """Whether somebody waits for a lock in this database."""
    found = await files.sql.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid())"
    )
    return bool(found) is wanted


async def test_a_file_that_an_earlier_release_passed_over_is_read_again(files: Files) -> None:
    await files.catalogue(1)
    await files.answers("answers.jsonl", 1, written=LONG_AGO)
    await files.catalogue(2)
    # As an earlier release left it: the file counts as done, the title is as the catalogue has it.
    await files.sql.execute("DELETE FROM schema_migrations WHERE version = 3")
    await files.sql.execute(
        """UPDATE movies SET (movie, etag, source) = (SELECT movie, etag, source FROM movies WHERE id = 2)
           WHERE id = 1"""
    )
    assert "1 changed" in await files.marquee("import", str(files.folder / "answers.jsonl"))
    assert_full(await files.stored(1))


async def test_a_file_that_was_written_again_is_read_again(files: Files) -> None:
    """Of the same name, size and beginning: a correction in its middle."""
    padding = range(1, 1001)
    await files.answers("answers.jsonl", *padding, 5000, written=LONG_AGO, Plot="Wrong")
    path = files.write_answers("answers.jsonl", *padding, 5000, written=LONG_AGO + 60, Plot="Wrong")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], lines[-1].replace("Wrong", "Right")]))
    os.utime(path, (LONG_AGO + 60, LONG_AGO + 60))
    await files.marquee("import", str(path))
    assert_full(await files.stored(5000), "Right")


@pytest_asyncio.fixture(loop_scope="module")
async def omdb(stack: Stack) -> Omdb:
    found = Omdb(stack)
    await found.reset()
    return found
