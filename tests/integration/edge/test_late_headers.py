"""What services say in trailers of one answer becomes headers of it."""

from typing import Any

import pytest
from marquee.movies.v1 import movies_pb2

from tests.support.edge.mesh import Edge, eventually, fail, not_found, running_edge

pytestmark = pytest.mark.alone

MOVIE = "/v1/movies/tt0111161"
LATE = [("cache-control", "public, max-age=60"), ("etag", '"e1"'), ("x-marquee-source", "l1")]


@pytest.fixture(scope="module")
async def shared() -> Any:
    async with running_edge() as edge:
        yield edge


@pytest.fixture
def edge(shared: Edge) -> Edge:
    shared.service.handlers.clear()
    shared.service.trailers[:] = LATE
    return shared


@pytest.mark.parametrize(
    "path",
    [
        MOVIE,
        f"{MOVIE}?readMask=title",
        "/v1/movies:search?query=heat",
        "/v1/charts/top-rated",
        f"{MOVIE}/score",
    ],
)
async def test_trailers_are_headers(edge: Edge, path: str) -> None:
    answer = await edge.http.get(path, headers={"cache-control": "no-cache"})
    assert answer.status_code == 200
    assert {name: answer.headers[name] for name, _ in LATE} == dict(LATE)
    assert not [name for name in answer.headers if name.startswith("grpc-")]
    assert answer.json()


async def test_the_cache_goes_by_them(edge: Edge) -> None:
    async def hit() -> bool:
        return "age" in (await edge.http.get(MOVIE)).headers

    await eventually(hit, what="an answer from the cache")
    unchanged = await edge.http.get(MOVIE, headers={"if-none-match": '"e1"'})
    assert (unchanged.status_code, unchanged.headers["etag"]) == (304, '"e1"')


async def test_head_has_them(edge: Edge) -> None:
    answer = await edge.http.head(MOVIE, headers={"cache-control": "no-cache"})
    assert (answer.status_code, answer.headers["etag"], answer.content) == (200, '"e1"', b"")


async def test_a_service_of_the_release_before_sends_headers(edge: Edge) -> None:
    edge.service.trailers.clear()
    edge.service.headers[:] = LATE
    try:
        answer = await edge.http.get(MOVIE, headers={"cache-control": "no-cache"})
    finally:
        edge.service.headers.clear()
    assert {name: answer.headers[name] for name, _ in LATE} == dict(LATE)


async def test_errors_have_none(edge: Edge) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    answer = await edge.http.get(MOVIE, headers={"cache-control": "no-cache"})
    assert answer.status_code == 404
    assert answer.json()["error"]["details"][0]["reason"] == "MOVIE_NOT_FOUND"
    assert answer.headers.get("etag") != '"e1"'


async def test_a_long_answer_has_them(edge: Edge) -> None:
    async def long(request: Any, _context: Any) -> movies_pb2.Movie:
        return movies_pb2.Movie(name=request.name, plot="x" * 3_000_000)

    edge.service.handlers["GetMovie"] = long
    answer = await edge.http.get(MOVIE, headers={"cache-control": "no-cache", "accept-encoding": "identity"})
    assert answer.status_code == 200
    assert (len(answer.json()["plot"]), answer.headers["etag"]) == (3_000_000, '"e1"')
