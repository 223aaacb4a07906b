"""A catalogue of titles in many scripts, movie_svc over it, and how tests look titles up."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from marquee.movies.v1 import movies_pb2

from local.servers.services import stores
from local.stack.layout import Stack
from tests.support.movies import MovieProcess, replicated

# Number, title, year: real titles, some of them like another one except for a sign.
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


async def connected(stack: Stack) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(stack.dsn("movie_svc"))


async def aged(stack: Stack) -> None:
    """What is stored has been for a day, on the replica too."""
    sql = await connected(stack)
    await sql.execute(
        "UPDATE movies SET create_time = now() - interval '1 day', named = named - interval '1 day'"
    )
    await replicated(stack, sql)
    await sql.close()


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
