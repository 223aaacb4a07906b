"""Titles are found by each of their names, in every script, and by one that is spelled a little wrong."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from marquee.movies.v1 import movies_pb2

from local.servers.services import stores
from local.stack.layout import Stack
from tests.support.movies import MovieProcess, Omdb
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Number, title, year: real titles, some of them like another one but for a sign.
FILMS = [
    (103644, "Alien³", 1992),
    (78748, "Alien", 1979),
    (257076, "S.W.A.T.", 2003),
    (56801, "8½", 1963),
    (910970, "WALL·E", 2008),
    (114369, "Se7en", 1995),
    (66026, "M*A*S*H", 1970),
    (240772, "Ocean’s Eleven", 2001),
    (211915, "Amélie", 2001),
    (110413, "Léon", 1994),
    (60196, "The Good, the Bad and the Ugly", 1966),
    (133093, "The Matrix", 1999),
    (113277, "Heat", 1995),
    (1049413, "Up", 2009),
    (73195, "Jaws", 1975),
    (73707, "शोले", 1975),
    (9000001, "दीवार", 1975),
    (9000002, "गाइड", 1965),
    (47478, "七人の侍", 1954),
    (42876, "羅生門", 1950),
    (9000003, "英雄", 2002),
    (245429, "千と千尋の神隠し", 2001),
    (9000004, "ゴジラ", 1954),
    (9000005, "コジラ", 1954),
    (6751668, "기생충", 2019),
    (9000006, "올드보이", 2003),
    (9000007, "ต้มยำกุ้ง", 2005),
    (9000008, "องค์บาก", 2003),
    (9000009, "Сталкер", 1979),
    (9000010, "Мой друг Иван Лапшин", 1985),
    (9000011, "Ζορμπάς", 1964),
    (9000012, "ואלס עם באשיר", 2008),
    (9000013, "جدایی نادر از سیمین", 2011),
    (9000014, "Kış Uykusu", 2014),
    (9000015, "Œdipe roi", 1967),
    (9000016, "পথের পাঁচালী", 1955),
    (9000017, "நாயகன்", 1987),
    (9000018, "ვედრებაა", 1967),
    (9000019, "Նռան գույնը", 1969),
    (124718, "He Got Game", 1998),
    (1174732, "An Education", 2009),
]


def answer(number: int, title: str, year: int, **fields: Any) -> dict[str, Any]:
    return {
        "Title": title,
        "Year": str(year),
        "imdbID": f"tt{number:07d}",
        "Type": "movie",
        "Response": "True",
        **fields,
    }


class Movies:
    """movie_svc with what it has imported; it never asks OMDb."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder

    async def run(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "movie_svc", *arguments),
            env={**os.environ, **stores(self.stack, "movie_svc"), "MARQUEE_LOG_LEVEL": "warning"},
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    async def answers(self, *bodies: dict[str, Any]) -> None:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.jsonl"
        path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
        await self.run("import", str(path))

    async def catalogue(self, *titles: tuple[int, str]) -> None:
        movies, links = self.folder / "movies.csv", self.folder / "links.csv"
        movies.write_text("movieId,title,genres\n" + "".join(f'{n},"{t}",Drama\n' for n, t in titles))
        links.write_text("movieId,imdbId,tmdbId\n" + "".join(f"{n},{n:07d},\n" for n, _ in titles))
        await self.run("import-catalogue", "--movies", str(movies), "--links", str(links))

    def process(self, **environment: str) -> MovieProcess:
        return MovieProcess(self.stack, self.folder, **environment)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def movies(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Movies]:
    found = Movies(stack, tmp_path_factory.mktemp("names"))
    await forget(stack)
    await found.answers(*(answer(*film, imdbVotes="1,000") for film in FILMS))
    # A search sees what was stored some seconds before it.
    await aged(stack)
    yield found
    await forget(stack)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(movies: Movies) -> AsyncIterator[MovieProcess]:
    async with movies.process(MARQUEE_OMDB_MODE="off") as process:
        yield process


async def connected(stack: Stack) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(stack.dsn("movie_svc"))


async def forget(stack: Stack) -> None:
    sql = await connected(stack)
    rows = await sql.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'movie_svc'")
    tables = [row["tablename"] for row in rows if row["tablename"] != "schema_migrations"]
    if tables:
        await sql.execute(f"TRUNCATE {', '.join(tables)}")
    await sql.close()


async def aged(stack: Stack) -> None:
    """What is stored has been for a day, on the replica too."""
    sql = await connected(stack)
    await sql.execute(
        "UPDATE movies SET create_time = now() - interval '1 day', named = named - interval '1 day'"
    )
    lsn = await sql.fetchval("SELECT pg_current_wal_lsn()::text")
    await sql.close()
    behind = await asyncpg.connect(stack.dsn("movie_svc", "postgres-replica"))
    await eventually(lambda: behind.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn))
    await behind.close()


async def looked_up(service: MovieProcess, title: str, year: int | None = None) -> str | None:
    """The title that answers a look-up."""
    request = movies_pb2.LookupMovieRequest(title=title)
    if year is not None:
        request.year = year
    try:
        return (await service.stub.LookupMovie(request, timeout=10)).title
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return None


async def searched(service: MovieProcess, query: str, size: int = 100, **fields: Any) -> list[str]:
    """The titles of all pages of a search."""
    found: list[str] = []
    token = ""
    while True:
        request = movies_pb2.SearchMoviesRequest(query=query, page_size=size, page_token=token, **fields)
        page = await service.stub.SearchMovies(request, timeout=10)
        found += [movie.title for movie in page.movies]
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize(
    ("title", "year", "expected"),
    [
        ("Alien 3", 1992, "Alien³"),
        ("Alien3", 1992, "Alien³"),
        ("Alien", None, "Alien"),
        ("SWAT", 2003, "S.W.A.T."),
        ("S W A T", 2003, "S.W.A.T."),
        ("8 1/2", 1963, "8½"),
        ("WALL-E", 2008, "WALL·E"),
        ("Walle", 2008, "WALL·E"),
        ("MASH", 1970, "M*A*S*H"),
        ("Ocean's Eleven", 2001, "Ocean’s Eleven"),
        ("OCEANS ELEVEN", None, "Ocean’s Eleven"),
        ("Amelie", None, "Amélie"),
        ("Leon", None, "Léon"),
        ("Good, the Bad & the Ugly, The", 1966, "The Good, the Bad and the Ugly"),
        ("oedipe roi", None, "Œdipe roi"),
        ("kis uykusu", None, "Kış Uykusu"),
        ("शोले", 1975, "शोले"),
        ("ゴジラ", 1954, "ゴジラ"),
        ("ｺﾞｼﾞﾗ", 1954, "ゴジラ"),
        ("コジラ", 1954, "コジラ"),
        ("ΖΟΡΜΠΑΣ", None, "Ζορμπάς"),
        ("جدايي نادر از سيمين", None, "جدایی نادر از سیمین"),
        ("جدایی نادر از سیمین", 2011, "جدایی نادر از سیمین"),
        ("शाला", 1975, None),
        ("शल", 1975, None),
        ("दिवार", 1975, None),
        ("ทมยำกง", 2005, None),
        ("Мои друг Иван Лапшин", 1985, None),
        ("81/2", 1963, None),
        ("Seven", 1995, None),
    ],
)
async def test_a_title_is_looked_up_however_it_is_written_and_no_other_one_answers(
    service: MovieProcess, title: str, year: int | None, expected: str | None
) -> None:
    assert await looked_up(service, title, year) == expected


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


async def test_names_of_a_catalogue_stay_when_omdb_names_a_title(
    movies: Movies, service: MovieProcess
) -> None:
    also = "Chungking Forest (a.k.a. Chung Hing sam lam) (Bosque de Chungking, El) (1994)"
    full = answer(9200001, "Chungking Express", 1994, Plot="Two policemen.", imdbVotes="9")
    await movies.catalogue((9200001, also))
    await movies.answers(full)
    await movies.answers(answer(9200001, "Chungking Expres", 1994, imdbVotes="10"))
    await movies.answers({**full, "imdbVotes": "11"})
    # Whichever comes first.
    await movies.answers(answer(9200002, "The Killer", 1989, imdbVotes="9"))
    await movies.catalogue((9200002, "Assassin, The (Die xue shuang xiong) (1989)"))
    await aged(movies.stack)
    for name in (
        "Chungking Express",
        "Chungking Expres",
        "Chungking Forest",
        "Chung Hing sam lam",
        "El bosque de Chungking",
    ):
        assert await looked_up(service, name, 1994) == "Chungking Express"
        assert await looked_up(service, name) == "Chungking Express"
        assert (await searched(service, name))[0] == "Chungking Express"
    assert await looked_up(service, "Chung Hing sam lam", 1995) is None
    for name in ("Die xue shuang xiong", "Assassin, The", "The Killer"):
        assert await looked_up(service, name, 1989) == "The Killer"
        assert await searched(service, name) == ["The Killer"]
    assert "The Killer" in await searched(service, "Die xue shuang xong")


async def test_who_has_a_name_as_title_comes_before_who_is_also_called_so(
    movies: Movies, service: MovieProcess
) -> None:
    await movies.catalogue((9300001, "Famous Thing (a.k.a. Quiet Thing) (1990)"))
    await movies.answers(
        answer(9300001, "Famous Thing", 1990, imdbVotes="90,000"),
        answer(9300002, "Quiet Thing", 1990, imdbVotes="3"),
    )
    await aged(movies.stack)
    assert await looked_up(service, "quiet thing", 1990) == "Quiet Thing"
    assert await looked_up(service, "famous thing", 1990) == "Famous Thing"


async def test_keys_by_the_rules_of_another_release_are_made_again(movies: Movies) -> None:
    """Before a process serves: another film must not answer; and what that release writes later, too."""
    sql = await connected(movies.stack)
    # As the release before wrote them.
    await sql.execute(
        """INSERT INTO movies (id, movie, etag, source, fetch_time, fresh_until, create_time, type, title,
                               title_key, words, year, votes, genres)
           SELECT id, movie, etag, source, fetch_time, fresh_until, create_time, type, title, k,
                  to_tsvector('simple', k || ' alias'), year, votes, genres
           FROM (SELECT 9400001 AS id, 'मेला' AS title, 'मल' AS k) AS t,
                (SELECT movie, etag, source, fetch_time, fresh_until, create_time, type, year, votes, genres
                 FROM movies WHERE id = 73707) AS m"""
    )
    await sql.execute(
        "UPDATE movies SET title_key = 'alien3', words = 'alien3', keyed = NULL WHERE id = 103644"
    )
    await sql.execute(
        "INSERT INTO lookups (title_key, year, type, movie_id, fresh_until) "
        "VALUES ('मल', 1975, 0, 9400001, now() + interval '1 day')"
    )
    async with movies.process(MARQUEE_OMDB_MODE="off") as service:
        assert await sql.fetchval("SELECT count(*) FROM movies WHERE keyed IS DISTINCT FROM fetch_time") == 0
        assert await looked_up(service, "मल", 1975) is None
        assert await sql.fetchval("SELECT title_key FROM movies WHERE id = 9400001") == "मेला"
        assert await looked_up(service, "Alien 3", 1992) == "Alien³"
        assert await looked_up(service, "मेला", 1975) == "शोले", "the bytes of the row"
        assert await searched(service, "मेला") == ["शोले"], "and by its words"
        assert "शोले" in await searched(service, "alias"), "words of names that nothing else tells of stay"
    await sql.execute("DELETE FROM movies WHERE id = 9400001")
    await sql.close()


async def test_what_omdb_finds_comes_first_and_nothing_twice(movies: Movies, stack: Stack) -> None:
    omdb = Omdb(stack)
    await omdb.behave()
    await omdb.reset()
    await movies.answers(
        answer(9500001, "Godfathr", 1970, imdbVotes="5"),
        # Known here, and one letter from what is asked for; OMDb finds it by its own title.
        answer(68646, "The Godfathar", 1972, imdbVotes="2,000,000"),
        answer(9500002, "The Godfathers", 1980, imdbVotes="1"),
    )
    await aged(stack)
    async with movies.process() as service:
        for size in (1, 2, 100):
            found = await searched(service, "godfather", size)
            assert len(found) == len(set(found)), found
            assert found[0] == "The Godfathers", "known here, and begins so"
            assert {"The Godfathar", "Godfathr"} <= set(found), found
            assert found.index("The Godfathar") < found.index("Godfathr") == len(found) - 1
        await omdb.behave(mode="down")
        assert "The Godfathers" in await searched(service, "godfathxrs"), "OMDb is away"
    await omdb.behave()
