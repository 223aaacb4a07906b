"""Answers that may be kept are served from the edge; everything else is asked for anew."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from edge.limits import DEFAULT_FILE
from tests.edge.mesh import Edge, eventually, fail, not_found, rich_error, running_edge

KEEP = ("cache-control", "public, max-age=60")


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    limits = tmp_path_factory.mktemp("limits") / "limits.yaml"
    limits.write_text(DEFAULT_FILE.read_text().replace("max_cache_entries: 20000", "max_cache_entries: 20"))
    async with running_edge(limits_file=limits) as edge:
        yield edge


@pytest.fixture
def edge(shared: Edge) -> Edge:
    shared.service.handlers.clear()
    shared.service.headers[:] = [KEEP]
    shared.service.calls.clear()
    return shared


async def kept(edge: Edge, path: str) -> None:
    """Waits until an answer comes from the cache: it is stored while the first one is sent."""

    async def hit() -> bool:
        return "age" in (await edge.http.get(path)).headers

    await eventually(hit, what=f"a cached {path}")
    edge.service.calls.clear()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/movies/tt0000001",
        "/v1/movies/tt0000001/score",
        "/v1/charts/top-rated?genre=Drama",
        "/v1/charts/trending",
    ],
)
async def test_what_may_be_kept_is_asked_for_once(edge: Edge, path: str) -> None:
    first = await edge.http.get(path)
    assert first.status_code == 200
    await kept(edge, path)
    again = await edge.http.get(path)
    assert again.json() == first.json()
    assert again.headers["cache-control"] == "public, max-age=60"
    assert [name for name in (*first.headers, *again.headers) if name.startswith(("grpc-", "x-envoy-"))] == []
    assert again.headers["x-request-id"] != first.headers["x-request-id"], "an id is one request's"
    assert edge.service.calls == []


async def test_other_parameters_are_another_answer(edge: Edge) -> None:
    await kept(edge, "/v1/movies/tt0000002")
    assert (await edge.http.get("/v1/movies/tt0000002?readMask=title")).status_code == 200
    assert (await edge.http.get("/v1/movies/tt0000003")).json()["name"] == "movies/tt0000003"
    assert len(edge.service.calls) == 2


@pytest.mark.parametrize("said", [None, "no-store", "private, max-age=60", "no-cache"])
async def test_what_may_not_be_kept_is_not(edge: Edge, said: str | None) -> None:
    edge.service.headers[:] = [("cache-control", said)] if said else []
    path = f"/v1/movies/tt9{abs(hash(said)) % 1000000:06}"
    for _ in range(3):
        assert "age" not in (await edge.http.get(path)).headers
    assert len(edge.service.calls) == 3


async def test_it_is_kept_no_longer_than_it_says(edge: Edge) -> None:
    edge.service.headers[:] = [("cache-control", "public, max-age=2")]
    await kept(edge, "/v1/movies/tt0000004")

    async def asked_again() -> bool:
        await edge.http.get("/v1/movies/tt0000004")
        return bool(edge.service.calls)

    await eventually(asked_again, timeout=5, what="a new answer after two seconds")


async def test_a_token_does_not_keep_a_public_answer_from_the_cache(edge: Edge) -> None:
    await kept(edge, "/v1/movies/tt0000005")
    answer = await edge.http.get("/v1/movies/tt0000005", headers=edge.bearer("bob"))
    assert "age" in answer.headers
    assert edge.service.calls == []
    refused = await edge.http.get("/v1/movies/tt0000005", headers={"authorization": "Bearer x.y.z"})
    assert refused.status_code == 401, "a cached answer is no way around the token"


async def test_a_kept_answer_can_not_depend_on_who_asked(edge: Edge) -> None:
    await edge.http.get("/v1/movies/tt0000006", headers=edge.bearer("bob", scopes=["marquee.admin"]))
    assert [key for key, _ in edge.service.calls[-1].metadata if key.startswith("x-marquee-")] == []


async def test_private_answers_are_never_kept(edge: Edge) -> None:
    for _ in range(3):
        answer = await edge.http.get("/v1/users/me/ratings/tt0000001", headers=edge.bearer())
        assert "age" not in answer.headers
    assert len(edge.service.calls) == 3


async def test_not_found_is_kept_if_the_service_says_so(edge: Edge) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    await kept(edge, "/v1/movies/tt0000404")
    answer = await edge.http.get("/v1/movies/tt0000404")
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert edge.service.calls == []


async def test_a_failure_is_never_kept(edge: Edge) -> None:
    away = rich_error(grpc.StatusCode.UNAVAILABLE, "OMDb is away")
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, away)
    for _ in range(3):
        assert (await edge.http.get("/v1/movies/tt0000503")).status_code == 503
    assert len(edge.service.calls) == 3


async def test_an_answer_that_varies_does_no_harm(edge: Edge) -> None:
    edge.service.headers[:] = [KEEP, ("vary", "accept-encoding, origin")]
    for _ in range(5):
        answers = await asyncio.gather(*(edge.http.get("/v1/movies/tt0000007") for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
    assert edge.process.returncode is None


async def test_the_cache_is_bounded(edge: Edge) -> None:
    for number in range(200):
        assert (await edge.http.get(f"/v1/movies/tt5{number:06}")).status_code == 200
    files = edge.folder / "envoy" / "cache"

    async def bounded() -> bool:
        return len(list(files.iterdir())) <= 30

    await eventually(bounded, what="a cache of about twenty files")


async def test_grpc_calls_get_fresh_answers(edge: Edge) -> None:
    await kept(edge, "/v1/movies/tt0000008")
    async with grpc.aio.insecure_channel(edge.target) as channel:
        movies = movies_pb2_grpc.MovieServiceStub(channel)
        await movies.GetMovie(movies_pb2.GetMovieRequest(name="movies/tt0000008"), timeout=5)
    assert len(edge.service.calls) == 1


async def test_errors_of_the_transcoder_come_through_both_hops(edge: Edge) -> None:
    answer = await edge.http.get("/v1/movies/tt0000009?nope=1")
    assert answer.status_code == 400
    assert "nope" in answer.json()["error"]["message"]
    assert edge.service.calls == []
