"""Answers that may be kept are served from the edge; everything else is asked for again."""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from edge.limits import DEFAULT_FILE
from tests.support.edge.mesh import Edge, eventually, fail, not_found, rich_error, running_edge

pytestmark = pytest.mark.alone

KEEP = ("cache-control", "public, max-age=60")
MOST_ANSWERS = 20
MOST_BYTES = 100_000


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    limits = tmp_path_factory.mktemp("limits") / "limits.yaml"
    text = DEFAULT_FILE.read_text()
    for given, small in (
        ("max_cache_entries: 20000", f"max_cache_entries: {MOST_ANSWERS}"),
        ("max_cache_bytes: 134217728", f"max_cache_bytes: {MOST_BYTES}"),
    ):
        assert given in text
        text = text.replace(given, small)
    limits.write_text(text)
    async with running_edge(limits_file=limits) as edge:
        yield edge


@pytest.fixture
def edge(shared: Edge) -> Edge:
    shared.service.handlers.clear()
    shared.service.headers[:] = [KEEP]
    shared.service.calls.clear()
    return shared


async def kept(edge: Edge, path: str, coding: str = "gzip") -> None:
    """Waits until an answer comes from the cache: it is stored while the first one is sent."""

    async def hit() -> bool:
        return "age" in (await edge.http.get(path, headers={"accept-encoding": coding})).headers

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


@pytest.mark.parametrize(
    "said", [None, "no-store", "private, max-age=60", "No-Cache, max-age=60", 'PRIVATE="x", max-age=60']
)
async def test_what_may_not_be_kept_is_not(edge: Edge, said: str | None) -> None:
    edge.service.headers[:] = [("cache-control", said)] if said else []
    path = f"/v1/movies/tt9{zlib.crc32(str(said).encode()) % 1000000:06}"
    for _ in range(3):
        assert "age" not in (await edge.http.get(path)).headers
    assert len(edge.service.calls) == 3


async def test_it_is_kept_no_longer_than_it_says(edge: Edge) -> None:
    edge.service.headers[:] = [("cache-control", "public, max-age=2")]
    await kept(edge, "/v1/movies/tt0000004")

    async def asked_again() -> bool:
        await edge.http.get("/v1/movies/tt0000004")
        return bool(edge.service.calls)

    await eventually(asked_again, timeout=30, what="a new answer after two seconds")


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


async def cache_size(edge: Edge) -> tuple[int, int]:
    """How many answers are kept, and their bytes."""
    stats = await edge.stats("edge_cache_(answers|bytes)$")
    return tuple(stats[f"dynamicmodulescustom.edge_cache_{name}"] for name in ("answers", "bytes"))


async def is_kept(edge: Edge, path: str) -> bool:
    """Whether an answer comes from the cache; asks for it."""
    edge.service.calls.clear()
    assert (await edge.http.get(path)).status_code == 200
    return not edge.service.calls


async def test_the_cache_keeps_so_many_answers_and_drops_the_longest_unused(edge: Edge) -> None:
    edge.service.headers[:] = [("cache-control", "public, max-age=600")]
    await kept(edge, "/v1/movies/tt5999999")
    for number in range(200):
        assert (await edge.http.get(f"/v1/movies/tt5{number:06}")).status_code == 200
        assert await is_kept(edge, "/v1/movies/tt5999999"), "what is asked for stays"
        assert (await cache_size(edge))[0] <= MOST_ANSWERS
    assert (await cache_size(edge))[0] == MOST_ANSWERS
    assert not await is_kept(edge, "/v1/movies/tt5000100")


async def test_the_cache_keeps_so_many_bytes(edge: Edge) -> None:
    plots = random.Random(1)

    async def long_movie(request: movies_pb2.GetMovieRequest, context: Any) -> movies_pb2.Movie:
        return movies_pb2.Movie(name=request.name, plot=plots.randbytes(2500).hex())

    edge.service.handlers["GetMovie"] = long_movie
    for coding in ("identity", "gzip"):
        for number in range(40):
            path = f"/v1/movies/tt6{number:06}"
            answer = await edge.http.get(path, headers={"accept-encoding": coding})
            assert len(answer.json()["plot"]) == 5000
            answers, taken = await cache_size(edge)
            assert taken <= MOST_BYTES
    assert answers >= 10, "the bound is used"


async def test_what_is_too_large_for_the_cache_is_answered_all_the_same(edge: Edge) -> None:
    async def huge_movie(request: movies_pb2.GetMovieRequest, context: Any) -> movies_pb2.Movie:
        return movies_pb2.Movie(name=request.name, plot="x" * MOST_BYTES)

    edge.service.handlers["GetMovie"] = huge_movie
    await kept(edge, "/v1/charts/trending")
    for _ in range(3):
        answer = await edge.http.get("/v1/movies/tt0000010", headers={"accept-encoding": "identity"})
        assert len(answer.json()["plot"]) == MOST_BYTES
    assert len(edge.service.calls) == 3
    assert await is_kept(edge, "/v1/charts/trending"), "it drives nothing out"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_long_answer_is_compressed_once(edge: Edge, coding: str) -> None:
    async def long_movie(request: movies_pb2.GetMovieRequest, context: Any) -> movies_pb2.Movie:
        return movies_pb2.Movie(name=request.name, plot=f"{request.name} " * 300)

    edge.service.handlers["GetMovie"] = long_movie
    path = f"/v1/movies/tt70000{len(coding)}0"
    await kept(edge, path.replace("tt7", "tt8"), "identity")
    other = await edge.http.get(path.replace("tt7", "tt8"), headers={"accept-encoding": coding})
    assert other.headers["content-encoding"] == coding, "though the cache has it uncompressed"
    edge.service.calls.clear()
    before = await edge.stats(rf"compressor\.{coding}.*\.compressed$")
    for _ in range(5):
        answer = await edge.http.get(path, headers={"accept-encoding": f"{coding}, x-unknown"})
        assert answer.headers["content-encoding"] == coding
        assert answer.headers["vary"].lower() == "accept-encoding"
    after = await edge.stats(rf"compressor\.{coding}.*\.compressed$")
    assert sum(after.values()) - sum(before.values()) == 1
    assert len(edge.service.calls) == 1
    plain = await edge.http.get(path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers, "who takes none of it gets none of it"
    assert plain.json()["plot"].startswith("movies/tt70000")
    if coding == "gzip":  # what httpx undoes by itself
        assert plain.json() == answer.json()


async def test_a_short_answer_is_one_for_all_codings(edge: Edge) -> None:
    for coding in ("gzip", "br", "zstd", "gzip, br", "identity", ""):
        answer = await edge.http.get("/v1/movies/tt0000011", headers={"accept-encoding": coding})
        assert "content-encoding" not in answer.headers
    assert len(edge.service.calls) == 1


async def test_a_path_that_ends_like_a_coding_is_its_own(edge: Edge) -> None:
    await kept(edge, "/v1/charts/trending?genre=Dramabr")
    assert not await is_kept(edge, "/v1/charts/trending?genre=Drama")


POISONS = [
    {"x-forwarded-host": "evil.example", "forwarded": "host=evil.example;proto=https"},
    {"host": "evil.example"},
    {"x-original-url": "/v1/charts/trending", "x-rewrite-url": "/nope"},
    {"x-http-method-override": "DELETE", "x-method-override": "POST"},
    {"x-marquee-release": "canary", "x-marquee-variant": "few-votes", "x-marquee-subject": "eve"},
    {"marquee-release": "canary", "marquee-client": "eve"},
    {"x-envoy-original-path": "/nope", "x-envoy-upstream-rq-timeout-ms": "1"},
    {"grpc-timeout": "1n", "grpc-encoding": "gzip", "te": "trailers"},
    {
        "range": "bytes=0-3",
        "if-range": "x",
        "if-match": '"x"',
        "if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT",
    },
    {"accept": "text/html", "accept-language": "xx", "accept-charset": "utf-7"},
    {"accept-encoding": "br;q=\x00, gzip"},
    {"origin": "https://evil.example"},
    {"x-request-id": "evil", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
]


@pytest.mark.parametrize("poison", POISONS, ids=[next(iter(each)) for each in POISONS])
async def test_nobody_spoils_an_answer_for_others(edge: Edge, poison: dict[str, str]) -> None:
    path = f"/v1/movies/tt30000{POISONS.index(poison):02}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in poison.items())
    host = "" if "host" in poison else "host: marquee\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    writer.write(f"GET {path} HTTP/1.1\r\n{host}connection: close\r\n{lines}\r\n".encode())
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    for _ in range(2):
        answer = await edge.http.get(path)
        assert answer.status_code == 200
        assert (answer.json()["name"], answer.json()["year"]) == (path.removeprefix("/v1/"), 1994)
        assert b"evil" not in answer.content
        assert not [name for name, value in answer.headers.items() if "evil" in value or "canary" in value]
        assert answer.headers["content-type"] == "application/json"


async def test_a_conditional_request_fills_the_cache_for_all(edge: Edge) -> None:
    edge.service.headers[:] = [KEEP, ("etag", '"v1"')]
    path = "/v1/movies/tt0000012"
    first = await edge.http.get(path, headers={"if-none-match": '"v1"'})
    assert (first.status_code, first.content) == (304, b"")
    assert await is_kept(edge, path)
    answer = await edge.http.get(path)
    assert answer.json()["name"] == "movies/tt0000012"
    assert answer.headers["content-type"] == "application/json"


async def test_a_get_with_a_body_is_refused_from_the_cache_too(edge: Edge) -> None:
    path = "/v1/movies/tt0000016"
    await kept(edge, path)
    for _ in range(3):
        answer = await edge.http.request("GET", path, content=b"hello")
        assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert edge.service.calls == []


@pytest.mark.parametrize("said", ["no-cache", "no-store", "max-age=0, x"])
async def test_a_client_may_ask_for_a_new_answer(edge: Edge, said: str) -> None:
    path = "/v1/movies/tt0000013"
    edge.service.headers[:] = [KEEP, ("age", "2")]
    await edge.http.get(path)
    edge.service.calls.clear()
    assert await is_kept(edge, path)
    await edge.http.get(path, headers={"cache-control": said})
    assert len(edge.service.calls) == 1


async def test_the_age_that_an_answer_comes_with_counts(edge: Edge) -> None:
    edge.service.headers[:] = [KEEP, ("age", "30")]
    path = "/v1/movies/tt0000017"
    await edge.http.get(path)
    answer = await edge.http.get(path)
    assert 30 <= int(answer.headers["age"]) < 60
    assert len(edge.service.calls) == 1
    edge.service.headers[:] = [KEEP, ("age", "57")]
    path = "/v1/movies/tt0000014"
    await edge.http.get(path)

    async def asked_again() -> bool:
        return not await is_kept(edge, path)

    await eventually(asked_again, timeout=30, what="a new answer after three seconds")
    edge.service.headers[:] = [KEEP, ("age", "60")]
    for _ in range(2):
        assert not await is_kept(edge, "/v1/movies/tt0000015"), "it came too old"


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
