"""movie_svc as a process, on real stores, asking the simulated OMDb."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from google.protobuf import field_mask_pb2
from marquee.movies.v1 import movies_pb2

from local.stack.layout import Stack
from movie_svc.asking.refresh_queue import RefreshQueue
from tests.support.clients import delete_keys, redis_of
from tests.support.errors import Details, refused
from tests.support.movies import MovieProcess, Omdb, headers
from tests.support.waiting import eventually

MATRIX, RELOADED, GODFATHER = "movies/tt0133093", "movies/tt0234215", "movies/tt0068646"
UNKNOWN = "movies/tt0999999"

Start = Callable[..., MovieProcess]


# Tests share one replica where they can: starting one takes seconds.
pytestmark = pytest.mark.asyncio(loop_scope="module")
HASTY = {
    "MARQUEE_OMDB_BREAKER_PAUSE_S": "0.2",
    "MARQUEE_OMDB_BREAKER_MAX_PAUSE_S": "0.4",
    "MARQUEE_OMDB_REFUSED_PAUSE_S": "0.05",
    "MARQUEE_OMDB_ATTEMPT_S": "1.5",
    "MARQUEE_OMDB_DEADLINE_S": "2.5",
    "MARQUEE_OMDB_RATE": "1000",
    "MARQUEE_OMDB_BURST": "1000",
    "MARQUEE_OMDB_DAILY_LIMIT": "100000",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MovieProcess]:
    async with MovieProcess(stack, tmp_path_factory.mktemp("movies"), **HASTY) as replica:
        yield replica


@pytest_asyncio.fixture(loop_scope="module")
async def omdb(stack: Stack, shared: MovieProcess) -> AsyncIterator[Omdb]:
    """OMDb as it should be, and stores in which nothing is known."""
    found = Omdb(stack)
    await found.behave()
    # A breaker that the last test has opened closes with the first answer.
    await eventually(lambda: answers(shared.get("movies/tt0047478")))
    await forget_everything(stack)
    await found.reset()
    yield found
    await found.behave()


@pytest.fixture
def start(stack: Stack, omdb: Omdb, tmp_path: Path) -> Start:
    """Starts more replicas; they wait as little for OMDb as the shared one does, unless told otherwise."""
    return lambda **environment: MovieProcess(stack, tmp_path, **{**HASTY, **environment})


@pytest.fixture
def replica(shared: MovieProcess, omdb: Omdb) -> MovieProcess:
    return shared


async def forget_everything(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'movie_svc'")
    tables = [row["tablename"] for row in rows if row["tablename"] != "schema_migrations"]

    async def truncated() -> bool:
        # What the replica stores at this moment may hold the tables in another order.
        try:
            await connection.execute(f"TRUNCATE {', '.join(tables)}")
        except asyncpg.DeadlockDetectedError:
            return False
        return True

    await eventually(truncated)
    lsn = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
    await connection.close()
    behind = await asyncpg.connect(stack.dsn("movie_svc", "postgres-replica"))
    await eventually(lambda: behind.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn))
    await behind.close()
    await delete_keys(stack, "movie_svc", "movie:*")


async def answers(call: Any) -> bool:
    try:
        await call
    except grpc.aio.AioRpcError:
        return False
    return True


def flat(pages: list[list[str]]) -> list[str]:
    return [title for page in pages for title in page]


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
    assert 0 <= age <= 5
    assert found["cache-control"] == f"public, max-age={age + 60}"


async def test_a_movie_that_omdb_does_not_have_is_not_asked_for_again(start: Start, omdb: Omdb) -> None:
    async with start() as replica:
        for _ in range(3):
            details = await refused(replica.get(UNKNOWN))
            assert (details.code, details.reason) == (grpc.StatusCode.NOT_FOUND, "MOVIE_NOT_FOUND")
    async with start() as replica:
        assert (await refused(replica.get(UNKNOWN))).reason == "MOVIE_NOT_FOUND"
    assert (await omdb.calls())["i"] == 1


@pytest.mark.parametrize(
    "mode", ["limited", "invalid_key", "captcha", "down", "html", "truncated", "hanging"]
)
async def test_no_failure_of_omdb_is_taken_for_absence(replica: MovieProcess, omdb: Omdb, mode: str) -> None:
    await replica.get(GODFATHER)
    await omdb.behave(mode=mode)
    details = await refused(replica.get(MATRIX))
    assert (details.code, details.reason) == (grpc.StatusCode.UNAVAILABLE, "OMDB_UNAVAILABLE")
    assert details.retry_s is not None
    assert details.retry_s >= 1
    assert (await replica.get(GODFATHER)).title == "The Godfather"
    await omdb.behave()
    await eventually(lambda: answers(replica.get(MATRIX)))
    assert (await replica.get(MATRIX)).title == "The Matrix"


async def test_a_thousand_who_miss_the_same_title_cost_one_call(start: Start, omdb: Omdb) -> None:
    await omdb.behave(latency_ms=1200)
    patient = {"MARQUEE_OMDB_ATTEMPT_S": "20", "MARQUEE_OMDB_DEADLINE_S": "30"}
    async with start(**patient) as one, start(**patient) as other:
        results = await asyncio.gather(
            *((one if i % 2 else other).get(MATRIX, timeout=60) for i in range(1000)), return_exceptions=True
        )
        assert [r for r in results if isinstance(r, BaseException)] == []
        assert (await omdb.calls())["i"] == 1
        coalesced = [
            (await replica.metrics())['marquee_movie_cache_total{layer="l1",outcome="coalesced"}']
            for replica in (one, other)
        ]
        assert sum(coalesced) > 500


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


async def run_import(replica: MovieProcess, file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "movie_svc", "import", str(file)), env=replica.environment
    )
    assert await process.wait() == 0


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

            await eventually(changed_too, 2)


async def test_old_titles_are_served_and_marked_while_omdb_is_away(start: Start, omdb: Omdb) -> None:
    short = {
        "MARQUEE_MOVIE_FRESH_OLD_S": "0.5",
        "MARQUEE_MOVIE_GRACE_S": "0.5",
        "MARQUEE_OMDB_BREAKER_PAUSE_S": "0.3",
    }
    async with start(**short) as replica:
        first = await replica.get(MATRIX)
        await omdb.behave(mode="down")

        async def stale() -> bool:
            movie, source = await replica.get_with_source(MATRIX)
            assert movie.etag == first.etag
            assert movie.stale == source.endswith("; stale")
            return movie.stale

        await eventually(stale)
        await omdb.behave()

        async def fresh_again() -> bool:
            movie = await replica.get(MATRIX)
            return not movie.stale and movie.fetch_time.ToSeconds() > first.fetch_time.ToSeconds()

        await eventually(fresh_again, 20)


async def test_health_says_why_omdb_is_left_alone(start: Start, omdb: Omdb) -> None:
    async with start(MARQUEE_OMDB_REFUSED_PAUSE_S="300") as replica:
        await replica.get(GODFATHER)
        assert (await replica.health("omdb"))["detail"] == "breaker closed"
        await omdb.behave(mode="limited")
        await refused(replica.get(MATRIX))

        async def told() -> bool:
            found = await replica.health("omdb")
            detail = found["detail"]
            return not found["up"] and "breaker open: not asked for" in detail and "limited" in detail

        await eventually(told)
        assert (await replica.metrics())["marquee_omdb_breaker_state"] == 2
        assert (await replica.get(GODFATHER)).title == "The Godfather"


async def test_replicas_share_the_days_calls(start: Start, omdb: Omdb) -> None:
    limit = {"MARQUEE_OMDB_DAILY_LIMIT": "4"}
    names = [f"movies/tt{number:07d}" for number in (133093, 234215, 242653, 68646, 71562, 110912)]
    async with start(**limit) as one, start(**limit) as other:
        results = await asyncio.gather(
            *((one if i % 2 else other).get(name) for i, name in enumerate(names)), return_exceptions=True
        )
        errors = [Details(r) for r in results if isinstance(r, grpc.aio.AioRpcError)]
        assert len(errors) == 2
        assert all(e.reason == "OMDB_UNAVAILABLE" for e in errors)
        assert all(e.retry_s is not None and 1 <= e.retry_s <= 86_400 for e in errors)
    assert (await omdb.calls())["i"] == 4


async def test_what_is_read_most_is_asked_for_again_first(stack: Stack, omdb: Omdb) -> None:
    """Of all replicas together: no one of them has read the second most."""
    client = redis_of(stack, "movie_svc")
    one, other = RefreshQueue(client, enabled=True), RefreshQueue(client, enabled=True)
    for number, here, there in ((111161, 3, 0), (133093, 2, 2), (68646, 1, 0), (12345678, 0, 9)):
        for _ in range(here):
            one.add(number)
        for _ in range(there):
            other.add(number)
    await one.flush()
    await other.flush()
    assert [await one.take() for _ in range(5)] == [12345678, 133093, 111161, 68646, None]
    await client.aclose()


async def test_without_omdb_what_is_not_stored_does_not_exist(start: Start, omdb: Omdb) -> None:
    async with start(MARQUEE_OMDB_MODE="off") as replica:
        assert (await refused(replica.get(MATRIX))).reason == "MOVIE_NOT_FOUND"
        request = movies_pb2.SearchMoviesRequest(query="matrix")
        assert (await replica.stub.SearchMovies(request, timeout=5)).movies == []
    assert sum((await omdb.calls()).values()) == 0


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
