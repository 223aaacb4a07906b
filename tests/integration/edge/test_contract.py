"""What a client of the API sees: JSON and gRPC on one port, and nothing that is not public."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc

from tests.support.edge.mesh import Edge, fail, not_found, rich_error
from tests.support.waiting import eventually

RATING = "/v1/users/me/ratings/tt0111161"
JSON_CALLS = [
    ("GET", "/v1/movies/tt0111161", "GetMovie", {"name": "movies/tt0111161"}),
    (
        "GET",
        "/v1/movies:batchGet?names=movies/tt1&names=movies/tt2",
        "BatchGetMovies",
        {"names": ["movies/tt1", "movies/tt2"]},
    ),
    ("GET", "/v1/movies:lookup?title=Heat&year=1995", "LookupMovie", {"title": "Heat", "year": 1995}),
    (
        "GET",
        "/v1/movies:search?query=caf%C3%A9&pageSize=5",
        "SearchMovies",
        {"query": "café", "page_size": 5},
    ),
    (
        "GET",
        "/v1/movies?genre=Drama&orderBy=year%20desc",
        "ListMovies",
        {"genre": "Drama", "order_by": "year desc"},
    ),
    ("PUT", RATING, "RateMovie", {"name": "users/me/ratings/tt0111161", "score": 7}),
    ("GET", RATING, "GetRating", {"name": "users/me/ratings/tt0111161"}),
    (
        "DELETE",
        RATING + "?requestId=x",
        "DeleteRating",
        {"name": "users/me/ratings/tt0111161", "request_id": "x"},
    ),
    ("GET", "/v1/users/me/ratings?minScore=8", "ListRatings", {"parent": "users/me", "min_score": 8}),
    ("POST", "/v1/users/me/ratings:batchRate", "BatchRateMovies", {"parent": "users/me"}),
    ("GET", "/v1/users/me/ratings:export", "ExportRatings", {"parent": "users/me"}),
    ("GET", "/v1/movies/tt0111161/score", "GetScore", {"name": "movies/tt0111161/score"}),
    ("GET", "/v1/movies/tt0111161/score:watch", "WatchScore", {"name": "movies/tt0111161/score"}),
    ("GET", "/v1/charts/top-rated?minVotes=3", "ListTopRated", {"min_votes": 3}),
    ("GET", "/v1/charts/most-voted?decade=1990", "ListMostVoted", {"decade": 1990}),
    ("GET", "/v1/charts/box-office?type=MOVIE_TYPE_MOVIE", "ListBoxOffice", {"type": 1}),
    ("GET", "/v1/charts/trending?window=TRENDING_WINDOW_DAY", "ListTrending", {"window": 1}),
]


@pytest.mark.parametrize(("verb", "path", "rpc", "fields"), JSON_CALLS, ids=[call[2] for call in JSON_CALLS])
async def test_every_binding_reaches_its_rpc(
    edge: Edge, verb: str, path: str, rpc: str, fields: dict[str, object]
) -> None:
    body = {"PUT": {"score": 7}, "POST": {"requests": []}}.get(verb)
    answer = await edge.http.request(verb, path, json=body, headers=edge.bearer())
    assert answer.status_code == 200, answer.text
    (call,) = edge.service.calls
    assert call.method == rpc
    assert {name: getattr(call.request, name) for name in fields} == fields


async def test_json_answers_hold_zeros_and_no_grpc_headers(edge: Edge) -> None:
    answer = await edge.http.get("/v1/movies/tt0111161")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["stale"] is False
    assert [name for name in answer.headers if name.startswith("grpc-")] == []


@pytest.mark.parametrize("name", ["readMask", "read_mask", "fields"])
@pytest.mark.parametrize("path", ["/v1/movies/tt0111161", "/v1/movies:lookup?title=Heat"])
async def test_an_answer_of_some_fields_holds_no_others(edge: Edge, path: str, name: str) -> None:
    edge.service.handlers["GetMovie"] = edge.service.handlers["LookupMovie"] = _titled
    answer = await edge.http.get(f"{path}{'&' if '?' in path else '?'}{name}=title,year")
    assert answer.json() == {"title": "Heat"}
    (call,) = edge.service.calls
    asked = call.request.fields if name == "fields" else call.request.read_mask
    assert list(asked.paths) == ["title", "year"]


async def _titled(request: object, context: object) -> movies_pb2.Movie:
    return movies_pb2.Movie(title="Heat")


async def test_json_is_served_over_http2_too(edge: Edge) -> None:
    import httpx

    async with httpx.AsyncClient(http1=False, http2=True, base_url=edge.url) as client:
        answer = await client.get("/v1/movies/tt0111161")
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


async def test_grpc_passes_through_on_the_same_port(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        movies = movies_pb2_grpc.MovieServiceStub(channel)
        movie = await movies.GetMovie(movies_pb2.GetMovieRequest(name="movies/tt0111161"), timeout=5)
        assert movie.title == "The Shawshank Redemption"

        ratings = ratings_pb2_grpc.RatingServiceStub(channel)
        metadata = (("authorization", f"Bearer {edge.token()}"),)

        async def history():  # type: ignore[no-untyped-def]
            for number in range(1, 2001):
                yield ratings_pb2.ImportRatingsRequest(movie=f"movies/tt{number:07}", score=5)

        imported = await ratings.ImportRatings(history(), metadata=metadata, timeout=20)
        assert imported.imported == 2000
        exported = [
            rating.score
            async for rating in ratings.ExportRatings(
                ratings_pb2.ExportRatingsRequest(parent="users/me"), metadata=metadata, timeout=5
            )
        ]
        assert exported == [1, 2, 3]


async def test_a_grpc_error_keeps_its_details(edge: Edge) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    async with grpc.aio.insecure_channel(edge.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await movies_pb2_grpc.MovieServiceStub(channel).GetMovie(
                movies_pb2.GetMovieRequest(name="movies/tt0000404"), timeout=5
            )
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert b"MOVIE_NOT_FOUND" in dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]


@pytest.mark.parametrize(
    "method",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/marquee.ratings.v1.RatingTotalsService/StreamTotals",
        "/marquee.rankings.v1.RankingAdminService/RebuildCharts",
        "/marquee.movies.v1.MovieService/NoSuchMethod",
    ],
)
async def test_only_public_rpcs_exist_at_the_edge(edge: Edge, method: str) -> None:
    async with grpc.aio.insecure_channel(edge.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(method)(
                b"", timeout=5, metadata=(("authorization", f"Bearer {edge.token()}"),)
            )
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    as_json = await edge.http.post(method, json={}, headers=edge.bearer())
    assert as_json.status_code == 404
    assert edge.service.calls == []


async def test_streams_are_lines_of_json(edge: Edge) -> None:
    answer = await edge.http.get("/v1/users/me/ratings:export", headers=edge.bearer())
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["score"] for line in answer.text.splitlines()] == [1, 2, 3]


async def test_an_error_instead_of_a_stream_is_plain_json(edge: Edge) -> None:
    async def refuse(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[object]:
        await fail(context, not_found(request.name))
        yield

    edge.service.handlers["WatchScore"] = refuse
    refused = await edge.http.get("/v1/movies/tt0000404/score:watch")
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/json")
    assert refused.json()["error"]["status"] == "NOT_FOUND"
    without_token = await edge.http.get("/v1/users/me/ratings:export")
    assert (without_token.status_code, without_token.headers["content-type"]) == (401, "application/json")


async def test_an_error_of_a_service_looks_like_googles(edge: Edge) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, not_found(request.name))
    answer = await edge.http.get("/v1/movies/tt0000404")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "error": {
            "code": 404,
            "status": "NOT_FOUND",
            "message": "movies/tt0000404 does not exist",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "MOVIE_NOT_FOUND",
                    "domain": "marquee",
                    "metadata": {},
                }
            ],
        }
    }
    assert [name for name in answer.headers if name.startswith("grpc-")] == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.CANCELLED, 499),
        (grpc.StatusCode.UNKNOWN, 500),
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.ALREADY_EXISTS, 409),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.ABORTED, 409),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.INTERNAL, 500),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
    ],
)
async def test_each_code_has_its_http_status(edge: Edge, code: grpc.StatusCode, status: int) -> None:
    message = 'a "quoted" sentence with } and ü\nin two lines'
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, rich_error(code, message))
    answer = await edge.http.get("/v1/movies/tt0111161")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["code"], error["status"], error["message"]) == (status, code.name, message)


async def test_an_error_without_details_has_the_same_form(edge: Edge) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: context.abort(
        grpc.StatusCode.INTERNAL, "broken"
    )
    answer = await edge.http.get("/v1/movies/tt0111161")
    information = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "INTERNAL",
        "domain": "marquee",
        "metadata": {},
    }
    assert answer.json() == {
        "error": {"code": 500, "status": "INTERNAL", "message": "broken", "details": [information]}
    }


@pytest.mark.parametrize("message", ["going away", '"details":[{ and ,"details":[]', ""])
async def test_unavailable_without_details_says_when_to_come_back(edge: Edge, message: str) -> None:
    edge.service.handlers["GetMovie"] = lambda request, context: context.abort(
        grpc.StatusCode.UNAVAILABLE, message
    )
    answer = await edge.http.get("/v1/movies/tt0111161")
    error = answer.json()["error"]
    assert (error["code"], error["status"], error["message"]) == (503, "UNAVAILABLE", message)
    assert [detail.get("reason", detail.get("retryDelay")) for detail in error["details"]] == [
        "UNAVAILABLE",
        "1s",
    ]
    assert answer.headers["retry-after"] == "1"


async def test_retry_info_becomes_retry_after(edge: Edge) -> None:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(2300)
    error = rich_error(grpc.StatusCode.UNAVAILABLE, "OMDb is away", info)
    edge.service.handlers["GetMovie"] = lambda request, context: fail(context, error)
    answer = await edge.http.get("/v1/movies/tt0111161")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


async def test_the_request_id_is_kept_handed_on_and_answered(edge: Edge) -> None:
    answer = await edge.http.get("/v1/movies/tt0111161", headers={"x-request-id": "0c6d9a5e-1"})
    assert answer.headers["x-request-id"] == "0c6d9a5e-1"
    assert edge.service.calls[-1].values("x-request-id") == ["0c6d9a5e-1"]
    without = await edge.http.get("/v1/movies/tt0111161")
    assert edge.service.calls[-1].values("x-request-id") == [without.headers["x-request-id"]]


@pytest.mark.parametrize(
    ("path", "content_type", "words"),
    [
        ("/docs", "text/html; charset=utf-8", "<title>Marquee"),
        ("/openapi.json", "application/json", '"openapi": "3.1.0"'),
    ],
)
async def test_the_api_describes_itself(edge: Edge, path: str, content_type: str, words: str) -> None:
    answer = await edge.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert words in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in answer.headers["content-security-policy"], "everything it needs comes from the edge"


async def test_the_access_log_tells_calls_apart_and_names_nobody(edge: Edge) -> None:
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    marks = {"ann": "log-ann", "bob": "log-bob"}
    for user, mark in marks.items():
        for path in ("/v1/movies/tt0111161", "/v1/users/me/ratings/tt0111161"):
            headers = {**edge.bearer(user), "x-request-id": mark, "traceparent": theirs}
            assert (await edge.http.get(path, headers=headers)).status_code == 200
    await edge.http.get("/v1/movies/tt0111161", headers={"x-request-id": "log-nobody"})
    log = edge.folder / "access.log"

    def lines() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for text in log.read_text().splitlines():
            line = json.loads(text)
            found.setdefault(line["http"]["request"]["id"], []).append(line)
        return found

    async def written() -> bool:
        return len(lines().get("log-nobody", [])) == 1

    await eventually(written, timeout=30, what="the access log")
    key = (edge.folder / "envoy" / "log-key").read_text()
    for user, mark in marks.items():
        expected = hashlib.sha256((key + user).encode()).hexdigest()[:32]
        assert [line["user"]["hash"] for line in lines()[mark]] == [expected, expected]
        assert {line["http"]["response"]["status_code"] for line in lines()[mark]} == {200}
        assert {line["service"]["name"] for line in lines()[mark]} == {"edge"}
        given = {
            str(call.values("traceparent")[0]).split("-")[1]
            for call in edge.service.calls
            if mark in call.values("x-request-id")
        }
        assert {line["trace"]["id"] for line in lines()[mark]} == given
        assert all(line["event"]["duration"] > 0 for line in lines()[mark])
        assert {line["@timestamp"][-1] for line in lines()[mark]} == {"Z"}
    assert lines()["log-nobody"][0]["user"]["hash"] is None
    text = log.read_text()
    assert '"ann"' not in text
    assert "127.0.0.1" not in re.sub(r'"upstream":"[^"]*"', "", text), "a client's address"
