"""Requests of movie_svc: what is wrong is named, and what is spelled otherwise is the same."""

from typing import Any

import grpc
import pytest
from marquee.movies.v1 import movies_pb2

from tests.support.errors import refused
from tests.support.movies import MATRIX, RELOADED, MovieProcess, Omdb
from tests.support.waiting import eventually

# Tests share one replica where they can: starting one takes seconds.
pytestmark = pytest.mark.asyncio(loop_scope="module")


INVALID: list[tuple[str, Any, str]] = [
    ("GetMovie", movies_pb2.GetMovieRequest(name=""), "name"),
    ("GetMovie", movies_pb2.GetMovieRequest(name="movies/tt123"), "name"),
    ("GetMovie", movies_pb2.GetMovieRequest(name="movies/tt01331 3"), "name"),
    ("GetMovie", movies_pb2.GetMovieRequest(name="movies/tt9999999999"), "name"),
    ("GetMovie", movies_pb2.GetMovieRequest(name=MATRIX, read_mask={"paths": ["colour"]}), "read_mask"),
    ("BatchGetMovies", movies_pb2.BatchGetMoviesRequest(), "names"),
    ("BatchGetMovies", movies_pb2.BatchGetMoviesRequest(names=[MATRIX] * 101), "names"),
    ("BatchGetMovies", movies_pb2.BatchGetMoviesRequest(names=[MATRIX, "x"]), "names[1]"),
    ("LookupMovie", movies_pb2.LookupMovieRequest(title=""), "title"),
    ("LookupMovie", movies_pb2.LookupMovieRequest(title="a\0b"), "title"),
    ("LookupMovie", movies_pb2.LookupMovieRequest(title="x" * 201), "title"),
    ("LookupMovie", movies_pb2.LookupMovieRequest(title="x", year=1869), "year"),
    ("LookupMovie", movies_pb2.LookupMovieRequest(title="x", year=2**31 - 1), "year"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="x"), "query"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="x" * 201), "query"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="ab\0"), "query"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="matrix", page_size=-1), "page_size"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="matrix", page_token="junk"), "page_token"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="matrix", page_token="é" * 9999), "page_token"),
    ("GetMovie", movies_pb2.GetMovieRequest(name=f" {MATRIX}"), "name"),
    ("GetMovie", movies_pb2.GetMovieRequest(name=MATRIX.upper()), "name"),
    ("GetMovie", movies_pb2.GetMovieRequest(name=MATRIX, read_mask={"paths": [" title"]}), "read_mask"),
    ("GetMovie", movies_pb2.GetMovieRequest(name=MATRIX, read_mask={"paths": ["Title"]}), "read_mask"),
    ("SearchMovies", movies_pb2.SearchMoviesRequest(query="matrix", page_token=" "), "page_token"),
    ("ListMovies", movies_pb2.ListMoviesRequest(order_by="Year"), "order_by"),
    ("ListMovies", movies_pb2.ListMoviesRequest(order_by="year DESC"), "order_by"),
    ("ListMovies", movies_pb2.ListMoviesRequest(decade=1995), "decade"),
    ("ListMovies", movies_pb2.ListMoviesRequest(year=1), "year"),
    ("ListMovies", movies_pb2.ListMoviesRequest(genre="a\0"), "genre"),
    ("ListMovies", movies_pb2.ListMoviesRequest(genre="x" * 101), "genre"),
    ("ListMovies", movies_pb2.ListMoviesRequest(order_by="name"), "order_by"),
    ("ListMovies", movies_pb2.ListMoviesRequest(page_size=-(2**31)), "page_size"),
    ("ListMovies", movies_pb2.ListMoviesRequest(page_token="AAAA"), "page_token"),
]


SPELLED: list[tuple[str, Any, Any]] = [
    (
        "LookupMovie",
        movies_pb2.LookupMovieRequest(title=" the  MATRIX\t"),
        movies_pb2.LookupMovieRequest(title="The Matrix"),
    ),
    (
        "SearchMovies",
        movies_pb2.SearchMoviesRequest(query="\u00a0MATRIX "),
        movies_pb2.SearchMoviesRequest(query="matrix"),
    ),
    (
        "ListMovies",
        movies_pb2.ListMoviesRequest(genre=" SCI-FI\t"),
        movies_pb2.ListMoviesRequest(genre="Sci-Fi"),
    ),
    ("ListMovies", movies_pb2.ListMoviesRequest(genre="  "), movies_pb2.ListMoviesRequest()),
    (
        "ListMovies",
        movies_pb2.ListMoviesRequest(order_by=" year   desc "),
        movies_pb2.ListMoviesRequest(order_by="year desc"),
    ),
]


async def test_case_and_spaces_around_a_text_do_not_count(replica: MovieProcess, omdb: Omdb) -> None:
    for name in (MATRIX, RELOADED):
        await replica.get(name)

    async def both() -> bool:
        # A search may have left a part of what OMDb says; the whole is stored after it is answered.
        listed = (await replica.stub.ListMovies(SPELLED[2][2], timeout=5)).movies
        return [movie.source for movie in listed] == [movies_pb2.SOURCE_OMDB] * 2

    await eventually(both)
    for method, odd, usual in SPELLED:
        call = getattr(replica.stub, method)
        assert await call(odd, timeout=10) == await call(usual, timeout=10), odd


async def test_a_page_token_is_good_for_the_same_text_spelled_otherwise(
    replica: MovieProcess, omdb: Omdb
) -> None:
    search = movies_pb2.SearchMoviesRequest(query="Matrix", page_size=1)
    token = (await replica.stub.SearchMovies(search, timeout=10)).next_page_token
    for query in (" matrix ", "MATRIX"):
        again = movies_pb2.SearchMoviesRequest(query=query, page_size=1, page_token=token)
        assert (await replica.stub.SearchMovies(again, timeout=10)).movies


async def test_bad_requests_name_the_field(replica: MovieProcess, omdb: Omdb) -> None:
    for method, request, field in INVALID:
        details = await refused(getattr(replica.stub, method)(request, timeout=5))
        assert details.code is grpc.StatusCode.INVALID_ARGUMENT, (method, str(request)[:200])
        assert details.fields == [field], (method, str(request)[:200])
    unknown_type = movies_pb2.ListMoviesRequest.FromString(b"\x20\x63")
    details = await refused(replica.stub.ListMovies(unknown_type, timeout=5))
    assert details.fields == ["type"]
    assert sum((await omdb.calls()).values()) == 0


async def test_a_page_token_is_good_for_its_own_request_only(replica: MovieProcess) -> None:
    for name in (MATRIX, RELOADED):
        await replica.get(name)

    async def two() -> bool:
        found = await replica.stub.ListMovies(movies_pb2.ListMoviesRequest(page_size=1), timeout=5)
        return bool(found.next_page_token)

    await eventually(two)
    first = await replica.stub.ListMovies(movies_pb2.ListMoviesRequest(page_size=1), timeout=5)
    for request in (
        movies_pb2.ListMoviesRequest(page_token=first.next_page_token, genre="drama"),
        movies_pb2.ListMoviesRequest(page_token=first.next_page_token, order_by="year"),
    ):
        assert (await refused(replica.stub.ListMovies(request, timeout=5))).fields == ["page_token"]
    search = movies_pb2.SearchMoviesRequest(query="matrix", page_token=first.next_page_token)
    assert (await refused(replica.stub.SearchMovies(search, timeout=5))).fields == ["page_token"]
