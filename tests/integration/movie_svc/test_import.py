"""Importing: fast, resumable, never less than was known, and told to Kafka once a change."""

import asyncio
import csv
import json
import os
import sys
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from confluent_kafka import Consumer, KafkaException, TopicPartition
from marquee.movies.v1 import events_pb2, movies_pb2

from local.commands.movielens import data_folder
from local.servers.services import stores
from local.stack.layout import Stack
from mesh.kafka import KafkaConfig, ensure_topics
from mesh.tables import PASSED_OVER_CODE
from movie_svc.omdb import parse
from movie_svc.storing.changes import CHANGED
from tests.support.movies import MovieProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")
DATA = data_folder()


class Importing:
    """The command, and the tables that it fills."""

    def __init__(self, stack: Stack, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.stack = stack
        self.sql = connection

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "movie_svc", *arguments),
            env={**os.environ, **stores(self.stack, "movie_svc"), "MARQUEE_LOG_LEVEL": "warning"},
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, code: int = 0) -> str:
        process = await self.start(*arguments)
        _, errors = await process.communicate()
        assert process.returncode == code, errors.decode()
        return errors.decode()

    async def movie(self, number: int) -> movies_pb2.Movie:
        raw = await self.sql.fetchval("SELECT movie FROM movies WHERE id = $1", number)
        return movies_pb2.Movie.FromString(raw)


@pytest_asyncio.fixture(loop_scope="module")
async def importing(stack: Stack) -> AsyncIterator[Importing]:
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    found = Importing(stack, connection)
    if await connection.fetchval("SELECT to_regclass('movies')") is not None:
        await connection.execute(
            "TRUNCATE movies, names, vocabulary, answers, absent, lookups, searches, outbox, imports"
        )
    yield found
    await connection.close()


def answer(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "Title": f"Title {number}",
        "Year": "1999",
        "imdbID": f"tt{number:07d}",
        "Type": "movie",
        "Response": "True",
        **fields,
    }


def write(path: Path, bodies: list[Any]) -> str:
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return str(path)


async def test_all_recorded_answers_are_stored_as_they_are(importing: Importing) -> None:
    path = DATA / "omdb" / "answers.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded OMDb answers at {path}: set MARQUEE_DATA")
    assert "3,166 titles" in await importing.run("import", str(path))
    rows = await importing.sql.fetch("SELECT id, movie, body FROM movies JOIN answers USING (id)")
    stored = {row["id"]: row for row in rows}
    with path.open(encoding="utf-8") as lines:
        bodies = [json.loads(line)["body"] for line in lines]
    assert len(stored) == len(bodies) == 3166
    for body in bodies:
        expected = parse.movie(body)
        row = stored[int(body["imdbID"][2:])]
        movie = movies_pb2.Movie.FromString(row["movie"])
        assert movie.source == movies_pb2.SOURCE_OMDB
        for field in ("source", "fetch_time", "etag"):
            movie.ClearField(field)  # type: ignore[arg-type]
        assert movie == expected
        assert json.loads(zlib.decompress(row["body"])) == body


async def test_marquee_movies_import_shows_how_far_it_is(importing: Importing, tmp_path: Path) -> None:
    """The command of the running stack, on a terminal."""
    file = write(tmp_path / "some.jsonl", [answer(number) for number in range(1, 2501)])
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local", "movies", "import", file),
        env={**os.environ, "MARQUEE_HOME": str(importing.stack.home.root)},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert await process.wait() == 0
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "░  40%  1,000 titles" in shown
    assert "100%  2,500 titles" in shown
    assert await importing.sql.fetchval("SELECT count(*) FROM movies") == 2500


async def test_an_import_that_was_killed_goes_on(importing: Importing, tmp_path: Path) -> None:
    count = 30_000
    file = write(tmp_path / "many.jsonl", [answer(number) for number in range(1, count + 1)])
    process = await importing.start("import", file)
    async with asyncio.timeout(60):
        while not (await _lines(importing) or 0) >= 2000:
            await asyncio.sleep(0.02)
    process.kill()
    await process.communicate()
    done = await _lines(importing)
    assert done is not None
    assert done < count
    output = await importing.run("import", file)
    assert f"{count - done:,} titles" in output
    assert await importing.sql.fetchval("SELECT count(*) FROM movies") == count
    assert "nothing to do" in await importing.run("import", file)
    assert "0 changed" in await importing.run("import", "--from-start", file)


async def _lines(importing: Importing) -> int | None:
    if await importing.sql.fetchval("SELECT to_regclass('imports')") is None:
        return None
    found: int | None = await importing.sql.fetchval("SELECT max(lines) FROM imports")
    return found


async def test_what_cannot_be_read_is_counted_and_the_rest_imported(
    importing: Importing, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.jsonl"
    lines = [
        json.dumps(answer(1, BoxOffice="£12")),
        json.dumps({"body": answer(2)}),
        json.dumps({"Response": "False", "Error": "Movie not found!"}),
        json.dumps({"Title": "no id", "Response": "True"}),
        "<html>",
        "",
        '{"Title":"A "quoted" title","Year":"1999","imdbID":"tt0000003","Type":"movie","Response":"True"}',
    ]
    path.write_text("\n".join(lines) + "\n")
    output = await importing.run("import", str(path), code=PASSED_OVER_CODE)
    for part in ("3 titles", "1 refusals", "2 lines can't be read", "not understood: 1 BoxOffice"):
        assert part in output
    assert "mixed.jsonl, line 4: imdbID is None, not an IMDb id\n" in output
    assert "mixed.jsonl, line 5: not JSON: '<html>'\n" in output
    assert (await importing.movie(1)).unparsed == {"BoxOffice": "£12"}
    assert (await importing.movie(3)).title == 'A "quoted" title'


async def test_a_catalogue_never_replaces_what_omdb_said(importing: Importing, tmp_path: Path) -> None:
    await importing.run("import", write(tmp_path / "one.jsonl", [answer(1, Runtime="90 min")]))
    movies, links = tmp_path / "movies.csv", tmp_path / "links.csv"
    _csv(movies, ["movieId", "title", "genres"],
         ["10", "Other Title, The (1950)", "Drama"], ["20", "Second, The (1951)", "Comedy|Children"],
         ["30", "Without Id (1952)", "Drama"])  # fmt: skip
    _csv(links, ["movieId", "imdbId", "tmdbId"], ["10", "0000001", ""], ["20", "0000002", ""])
    arguments = ("import-catalogue", "--movies", str(movies), "--links", str(links))
    output = await importing.run(*arguments, code=PASSED_OVER_CODE)
    assert "1 lines can't be read" in output
    assert "movies.csv, line 4: movieId '30' has no IMDb id in links.csv" in output
    first, second = await importing.movie(1), await importing.movie(2)
    assert (first.title, first.year, first.source) == ("Title 1", 1999, movies_pb2.SOURCE_OMDB)
    assert (second.title, second.year, second.source) == ("The Second", 1951, movies_pb2.SOURCE_CATALOGUE)
    assert list(second.genres) == ["Comedy", "Family"]
    assert "0 changed" in await importing.run(*arguments, code=PASSED_OVER_CODE)
    await importing.run("import", write(tmp_path / "two.jsonl", [answer(2)]))
    assert (await importing.movie(2)).title == "Title 2"


async def test_a_catalogue_as_people_have_it_is_imported_as_far_as_it_can_be_read(
    importing: Importing, tmp_path: Path
) -> None:
    movies, links = tmp_path / "movies.csv", tmp_path / "links.csv"
    movies.write_bytes(
        b"\xef\xbb\xbfmovieId,title,genres\r\n"
        b"10,Alien (1979),Horror\r\n"
        b"20,short\r\n"
        b"30,Am\xe9lie (2001),Comedy\r\n"
        b"40,Toy Story, The (1995),Comedy\r\n"
        b'50,"unclosed (1999),Drama\r\n'
        b"60,Show (2011\xe2\x80\x93),Drama\r\n"
        b"70,Nul\x00 (1999),Drama\r\n"
        b"80,,Drama\r\n"
    )
    links.write_bytes(
        b"\xef\xbb\xbfmovieId,imdbId,tmdbId\r\n10,0078748,\r\n20,1,\r\n30,2,\r\n40,3,\r\n50,4,\r\n"
        b"60,tt12345678,\r\n70,5,\r\n80,6,\r\n90,99999999999,\r\n"
    )
    arguments = ("import-catalogue", "--movies", str(movies), "--links", str(links))
    output = await importing.run(*arguments, code=PASSED_OVER_CODE)
    for part in (
        "movies.csv, line 3: it has 2 columns, not 3\n",
        "movies.csv, line 4: it is not UTF-8 at byte 6\n",
        "movies.csv, line 5: it has 4 columns, not 3\n",
        "movies.csv, line 6: it is not CSV: unexpected end of data\n",
        "movies.csv, line 9: its title has 0 characters; 1 to 500 are allowed\n",
        "links.csv, line 10: imdbId '99999999999' is not an IMDb id\n",
        "3 titles",
        "3 changed; 6 lines can't be read",
    ):
        assert part in output
    show = await importing.movie(12345678)
    assert (show.type, show.year, show.ongoing) == (movies_pb2.MOVIE_TYPE_SERIES, 2011, True)
    assert (await importing.movie(78748)).title == "Alien"


async def test_a_table_without_its_columns_is_one_sentence(importing: Importing, tmp_path: Path) -> None:
    path = tmp_path / "movies.csv"
    path.write_text("movieId;title;genres\n1;A;Drama\n")
    output = await importing.run("import-catalogue", "--movies", str(path), "--links", str(path), code=1)
    assert "Traceback" not in output
    assert "movies.csv has no column movieId, imdbId: its first line is 'movieId;title;genres'" in output


def _csv(path: Path, *rows: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "missing.jsonl"),
        ("import-catalogue", "--movies", "missing.csv", "--links", "missing.csv"),
    ],
)
async def test_a_missing_file_is_one_sentence(importing: Importing, arguments: tuple[str, ...]) -> None:
    process = await importing.start(*arguments)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert "No such file" in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_each_change_is_told_once(importing: Importing, stack: Stack, tmp_path: Path) -> None:
    async with MovieProcess(stack, tmp_path, MARQUEE_OMDB_MODE="off") as replica:
        await ensure_topics(KafkaConfig(bootstrap=stack.kafka_bootstrap), [CHANGED])
        events = await _Events.begin(stack)
        await importing.run(
            "import", write(tmp_path / "one.jsonl", [answer(1), answer(2, Genre="Drama, War")])
        )
        told = await events.read(2)
        assert {key for key, _ in told} == {"movies/tt0000001", "movies/tt0000002"}
        event = dict(told)["movies/tt0000002"]
        assert event.schema_version == 1
        assert event.HasField("change_time")
        stored = await replica.get("movies/tt0000002")
        assert event.movie == movies_pb2.Movie(
            name=stored.name,
            title=stored.title,
            type=stored.type,
            year=stored.year,
            genres=["Drama", "War"],
            etag=stored.etag,
        )
        await importing.run("import", write(tmp_path / "two.jsonl", [answer(1), answer(2, Genre="War")]))
        told = await events.read(1)
        assert [(key, list(event.movie.genres)) for key, event in told] == [("movies/tt0000002", ["War"])]
        assert await events.read(1, timeout_s=1.5) == []
        events.close()


class _Events:
    """What comes into the topic from now on."""

    def __init__(self, stack: Stack) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": stack.kafka_bootstrap,
                "group.id": "test",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )

    @classmethod
    async def begin(cls, stack: Stack) -> "_Events":
        found = cls(stack)
        async with asyncio.timeout(30):
            starts = [await found._end(partition) for partition in range(CHANGED.partitions)]
        found._consumer.assign(starts)
        return found

    async def _end(self, partition: int) -> TopicPartition:
        """Where a partition ends; a topic that was just made has no leader yet."""
        while True:
            try:
                at = TopicPartition(CHANGED.name, partition)
                ends = await asyncio.to_thread(self._consumer.get_watermark_offsets, at, timeout=5)
                return TopicPartition(CHANGED.name, partition, ends[1])
            except KafkaException:
                await asyncio.sleep(0.1)

    async def read(self, count: int, timeout_s: float = 60) -> list[tuple[str, events_pb2.MovieChanged]]:
        """Up to `count` events; fewer if no more come."""
        found: list[tuple[str, events_pb2.MovieChanged]] = []
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            for message in await asyncio.to_thread(self._consumer.consume, count - len(found), 0.5):
                assert message.error() is None
                key, value = message.key(), message.value()
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                found.append((key.decode(), events_pb2.MovieChanged.FromString(value)))
        return found

    def close(self) -> None:
        self._consumer.close()
