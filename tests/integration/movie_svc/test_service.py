"""movie_svc as a process, on real stores, asking the simulated OMDb."""

from pathlib import Path

import asyncpg
import pytest
from google.protobuf import field_mask_pb2
from marquee.movies.v1 import movies_pb2

from local.stack.layout import Stack
from tests.support.clients import redis_of
from tests.support.movies import (
    GODFATHER,
    MATRIX,
    RELOADED,
    UNKNOWN,
    MovieProcess,
    Omdb,
    Start,
    headers,
    run_import,
)
from tests.support.waiting import eventually

# Tests share one replica where they can: starting one takes seconds.
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_movie_is_asked_of_omdb_once_and_then_read_from_closer_layers(
    start: Start, omdb: Omdb
) -> None:
    async with start() as replica:
        movie, source = await replica.get_with_source(MATRIX)
        assert source == "omdb"
        assert (movie.name, movie.title, movie.year, movie.runtime_minutes) == (
            MATRIX,
            "The Matrix",
            1999,
            136,
        )
        assert [credit.person for credit in movie.directors] == ["Lana Wachowski", "Lilly Wachowski"]
        assert movie.source == movies_pb2.SOURCE_OMDB
        assert movie.HasField("fetch_time")
        assert movie.etag
        assert not movie.stale

        async def in_process() -> bool:
            return (await replica.get_with_source(MATRIX))[1] == "l1"

        await eventually(in_process)
        assert await replica.get(MATRIX) == movie
    async with start() as replica:
        assert await replica.get_with_source(MATRIX) == (movie, "redis")
    assert (await omdb.calls())["i"] == 1


async def test_what_redis_has_lost_postgres_still_has(
    replica: MovieProcess, omdb: Omdb, stack: Stack
) -> None:
    movie = await replica.get(MATRIX)

    async def stored() -> bool:
        connection = await asyncpg.connect(stack.dsn("movie_svc", "postgres-replica"))
        count = await connection.fetchval("SELECT count(*) FROM movies WHERE id = 133093")
        await connection.close()
        return bool(count)

    await eventually(stored)
    client = redis_of(stack, "movie_svc")
    await client.delete("movie:m:133093")
    await client.aclose()

    async def from_postgres() -> bool:
        found, source = await replica.get_with_source(MATRIX)
        assert found == movie
        return source == "postgres"

    # Redis tells this process that the key is gone, so that it does not serve its own copy either.
    await eventually(from_postgres)
    assert (await omdb.calls())["i"] == 1


async def test_what_is_read_all_the_time_is_renewed_before_redis_drops_it(start: Start) -> None:
    async with start(MARQUEE_MOVIE_L1_BYTES="0", MARQUEE_MOVIE_REDIS_TTL_S="3") as replica:

        async def renewed() -> bool:
            await replica.get(MATRIX)
            return (await replica.metrics()).get(RENEWED, 0) >= 3

        await eventually(renewed, 60)


RENEWED = 'marquee_movie_cache_total{layer="redis",outcome="renewed"}'


async def test_headers_say_how_old_an_answer_is_and_how_long_it_keeps(replica: MovieProcess) -> None:
    movie = await replica.get(MATRIX)
    call = replica.stub.GetMovie(movies_pb2.GetMovieRequest(name=MATRIX), timeout=5)
    await call
    found = await headers(call)
    assert found["etag"] == f'"{movie.etag}"'
    age = int(found["age"])
    assert 0 <= age <= 30
    assert found["cache-control"] == f"public, max-age={age + 60}"


async def test_a_batch_is_partial(replica: MovieProcess, omdb: Omdb) -> None:
    request = movies_pb2.BatchGetMoviesRequest(names=[GODFATHER, UNKNOWN, MATRIX, GODFATHER])
    answer = await replica.stub.BatchGetMovies(request, timeout=5)
    assert [movie.name for movie in answer.movies] == [GODFATHER, MATRIX]
    assert [(m.name, m.reason) for m in answer.missing] == [(UNKNOWN, "MOVIE_NOT_FOUND")]
    await omdb.behave(mode="down")
    request.names.append(RELOADED)
    request.read_mask.paths.append("title")
    answer = await replica.stub.BatchGetMovies(request, timeout=5)
    assert list(answer.movies) == [
        movies_pb2.Movie(title="The Godfather"),
        movies_pb2.Movie(title="The Matrix"),
    ]
    assert [(m.name, m.reason) for m in answer.missing] == [
        (UNKNOWN, "MOVIE_NOT_FOUND"),
        (RELOADED, "OMDB_UNAVAILABLE"),
    ]


async def test_full_plots_are_an_extra(replica: MovieProcess, omdb: Omdb) -> None:
    short = await replica.get(MATRIX)
    assert not short.HasField("full_plot")
    full = await replica.get(MATRIX, full_plot=True)
    assert full.full_plot.startswith(short.plot)
    assert len(full.full_plot) > len(short.plot)
    assert full.etag != short.etag
    await omdb.behave(mode="down")
    assert await replica.get(MATRIX, full_plot=True) == full
    await omdb.behave()
    await replica.get(GODFATHER)
    await omdb.behave(mode="down")
    without = await replica.get(GODFATHER, full_plot=True)
    assert without.title == "The Godfather"
    assert not without.HasField("full_plot")


async def test_read_masks(replica: MovieProcess) -> None:
    mask = field_mask_pb2.FieldMask(paths=["title", "year"])
    partial = movies_pb2.Movie(title="The Matrix", year=1999)
    assert await replica.get(MATRIX, read_mask=mask) == partial
    assert await replica.get(MATRIX, fields=mask) == partial
    lookup = movies_pb2.LookupMovieRequest(title="The Matrix", year=1999, read_mask=mask)
    assert await replica.stub.LookupMovie(lookup, timeout=5) == partial

    async def listed() -> bool:
        found = await replica.stub.ListMovies(movies_pb2.ListMoviesRequest(fields=mask), timeout=5)
        return list(found.movies) == [partial]

    await eventually(listed)
    search = movies_pb2.SearchMoviesRequest(query="matrix", year=1999, read_mask=mask)
    assert list((await replica.stub.SearchMovies(search, timeout=5)).movies) == [partial]


async def test_a_changed_title_reaches_all_replicas(start: Start, stack: Stack, tmp_path: Path) -> None:
    async with start() as one, start() as other:
        await one.get(MATRIX)
        for replica in (one, other):

            async def in_process(replica: MovieProcess = replica) -> bool:
                return (await replica.get_with_source(MATRIX))[1] == "l1"

            await eventually(in_process)
        changed = tmp_path / "changed.jsonl"
        changed.write_text(
            '{"Title":"The Matrix","Year":"1999","imdbID":"tt0133093","Type":"movie","imdbVotes":"9,999,999",'
            '"Response":"True"}\n'
        )
        await run_import(one, changed)
        for replica in (one, other):

            async def changed_too(replica: MovieProcess = replica) -> bool:
                return (await replica.get(MATRIX)).imdb_votes == 9_999_999

            # Long before it would look by itself, which is after five minutes.
            await eventually(changed_too, 30)
