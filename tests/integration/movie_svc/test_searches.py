"""Look-ups and searches: what is stored here and what OMDb knows, joined."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from marquee.movies.v1 import movies_pb2

from tests.support.errors import refused
from tests.support.movies import MATRIX, RELOADED, MovieProcess, Omdb, Start, headers, run_import
from tests.support.waiting import eventually

# Tests share one replica where they can: starting one takes seconds.
pytestmark = pytest.mark.asyncio(loop_scope="module")


def flat(pages: list[list[str]]) -> list[str]:
    return [title for page in pages for title in page]


async def test_look_ups_know_articles_and_refuse_near_matches(replica: MovieProcess, omdb: Omdb) -> None:

    async def look(title: str, year: int | None = None) -> movies_pb2.Movie:
        request = movies_pb2.LookupMovieRequest(title=title, year=year)
        return await replica.stub.LookupMovie(request, timeout=5)

    assert (await look("Matrix, The", 1999)).name == MATRIX
    assert (await look("matrix, the", 1999)).name == MATRIX
    assert (await omdb.calls())["t"] == 1
    # OMDb answers these with a title that is not the one: "The Matrix Reloaded", and 1999's.
    assert (await refused(look("The Matrix", 2003))).reason == "MOVIE_NOT_FOUND"
    assert (await refused(look("Matrix The", 1950))).reason == "MOVIE_NOT_FOUND"
    await omdb.behave(mode="near_match")
    assert (await refused(look("Godfather, The", 1972))).reason == "MOVIE_NOT_FOUND"
    calls = (await omdb.calls())["t"]
    assert (await refused(look("The Matrix", 2003))).reason == "MOVIE_NOT_FOUND"
    assert (await omdb.calls())["t"] == calls, "what OMDb said to a look-up is kept"
    await omdb.behave(mode="down")
    details = await refused(look("Heat", 1995))
    assert (details.reason, details.code) == ("OMDB_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    assert (await look("The Matrix", 1999)).name == MATRIX


async def test_a_look_up_without_a_year_learns_of_better_known_titles(
    replica: MovieProcess, start: Start, tmp_path: Path
) -> None:
    """The first one who asks gets what is known here, at once; who comes later, the best known."""
    lesser = tmp_path / "lesser.jsonl"
    lesser.write_text(
        '{"Title":"Heat","Year":"1986","imdbID":"tt0093164","Type":"movie","imdbVotes":"5,000","Response":"True"}'
    )
    await run_import(replica, lesser)
    request = movies_pb2.LookupMovieRequest(title="Heat")
    assert (await replica.stub.LookupMovie(request, timeout=5)).year == 1986

    async def better() -> bool:
        return (await replica.stub.LookupMovie(request, timeout=5)).year == 1995

    await eventually(better)


async def test_searches_find_what_is_known_here_and_what_omdb_knows(
    replica: MovieProcess, omdb: Omdb
) -> None:
    await replica.get(RELOADED)

    async def search(query: str, size: int, **fields: Any) -> list[list[str]]:
        found, token = [], ""
        while True:
            request = movies_pb2.SearchMoviesRequest(query=query, page_size=size, page_token=token, **fields)
            page = await replica.stub.SearchMovies(request, timeout=5)
            found.append([movie.title for movie in page.movies])
            token = page.next_page_token
            if not token:
                return found

    async def known_here(query: str, count: int) -> bool:
        """Whether a page of that many is answered without OMDb's results."""
        request = movies_pb2.SearchMoviesRequest(query=query, page_size=count)
        call = replica.stub.SearchMovies(request, timeout=5)
        await call
        return (await headers(call))["x-marquee-source"] == "postgres"

    all_three = ["The Matrix", "The Matrix Reloaded", "The Matrix Revolutions"]
    assert sorted(flat(await search("matrix", 2))) == all_three
    # Once what was just found counts as known, the exact title comes first, then the best known.
    await eventually(lambda: known_here("matrix", 3))
    assert flat(await search("Matrix", 2)) == all_three
    assert flat(await search("the", 7)) == flat(await search("the", 100))
    assert sorted(flat(await search("matr", 10))) == all_three
    assert flat(await search("matrix", 10, year=1999)) == ["The Matrix"]
    assert flat(await search("game", 10, type="MOVIE_TYPE_SERIES")) == ["Game of Thrones"]
    assert flat(await search("xyzzy plugh", 10)) == []
    calls = (await omdb.calls())["s"]
    await search("matrix", 2)
    assert (await omdb.calls())["s"] == calls, "OMDb's results are kept"
    await omdb.behave(mode="down")
    assert "The Matrix" in flat(await search("the matrix", 10))
    details = await refused(search("titanic", 10))
    assert (details.reason, details.code) == ("OMDB_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)


async def test_a_search_result_becomes_whole_when_it_is_read(replica: MovieProcess) -> None:
    request = movies_pb2.SearchMoviesRequest(query="titanic")
    found = (await replica.stub.SearchMovies(request, timeout=5)).movies[0]
    assert found.source == movies_pb2.SOURCE_OMDB_SEARCH
    assert not found.runtime_minutes

    async def whole() -> bool:
        movie = await replica.get(found.name)
        return movie.source == movies_pb2.SOURCE_OMDB and movie.runtime_minutes == 194

    await eventually(whole, 20)
