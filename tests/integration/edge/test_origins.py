"""Pages of other origins may call the API, and read every answer, refusal and header."""

import re
from pathlib import Path

import grpc
import httpx
import pytest

from tests.support.edge.mesh import Edge, fail, rich_error

pytestmark = pytest.mark.usefixtures("answers_may_be_kept")

MOVIE = "/v1/movies/tt0111161"


async def test_a_page_of_another_origin_may_ask_first(edge: Edge) -> None:
    preflight = await edge.http.options(
        "/v1/users/me/ratings/tt0111161",
        headers={
            "origin": "https://fans.example",
            "access-control-request-method": "PUT",
            "access-control-request-headers": "authorization, content-type",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert edge.service.calls == []


async def test_a_page_of_another_origin_reads_answers_and_errors(edge: Edge) -> None:
    origin = {"origin": "https://fans.example"}
    for path, status in ((MOVIE, 200), ("/v1/users/me/ratings", 401)):
        answer = await edge.http.get(path, headers=origin)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "etag" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers, "there are no cookies to send"


async def test_all_origins_are_answered_alike_so_that_no_cache_mixes_them_up(edge: Edge) -> None:
    for path in ("/v1/movies/tt0000005", "/v1/movies/tt0000005", "/v1/movies:search?query=heat"):
        for origin in ("https://a.example", "https://b.example"):
            answer = await edge.http.get(path, headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in (await edge.http.get("/v1/movies/tt0000005")).headers


ORIGIN = {"origin": "https://fans.example"}
LONG = {"x-long": "y" * 60_000}
MANY = {f"x-{number}": "y" for number in range(120)}
RATING = "/v1/users/me/ratings/tt0111161"
ERRORS: list[tuple[str, str, dict[str, str], int]] = [
    ("GET", "/nope", {}, 404),
    ("GET", "/", {}, 404),
    ("GET", "/v1/movies/tt1/", {}, 404),
    ("GET", "/v1/movies?nope=1", {}, 400),
    ("GET", "/v1/movies/%ff", {}, 400),
    ("GET", "/v1/movies/tt%00", {}, 400),
    ("GET", "/v1/movies/tt1?name=movies/tt2", {}, 400),
    ("GET", RATING, {}, 401),
    ("GET", RATING, {"authorization": "Basic YTpi"}, 401),
    ("GET", RATING, {"authorization": "Bearer x.y.z"}, 401),
    ("GET", "/v1/movies/tt1", {"authorization": "Bearer x.y.z"}, 401),
    ("POST", "/v1/movies/tt1", {}, 405),
    ("POST", "/docs", {}, 405),
    ("QUERY", "/v1/movies/tt1", {}, 405),
    ("PUT", RATING, {"content-type": "text/plain"}, 415),
    ("PUT", RATING, {"content-type": "application/json", "content-encoding": "gzip"}, 415),
    ("GET", "/v1/movies/tt1", LONG, 431),
    ("GET", "/v1/movies/tt1", MANY, 431),
]


@pytest.mark.parametrize(
    ("verb", "path", "headers", "status"),
    ERRORS,
    ids=[f"{verb} {path} {next(iter(headers), '')} {status}" for verb, path, headers, status in ERRORS],
)
async def test_a_page_of_another_origin_can_read_every_refusal(
    edge: Edge, verb: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await edge.http.request(
        verb, path, headers={**ORIGIN, **headers}, content=b"{}" if verb == "PUT" else None
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    for name in ("access-control-allow-origin", "access-control-expose-headers"):
        assert len(answer.headers.get_list(name)) == 1, name
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_a_page_of_another_origin_can_read_what_services_refuse(edge: Edge) -> None:
    edge.service.headers.clear()
    for code, status in (
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ):
        refuse = rich_error(code, "no")
        edge.service.handlers["GetMovie"] = lambda _, context, refuse=refuse: fail(context, refuse)
        answer = await edge.http.get("/v1/movies/tt0000404", headers=ORIGIN)
        assert answer.status_code == status
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    big = await edge.http.put(
        RATING,
        content=b"x" * 1_200_000,
        headers={**ORIGIN, **edge.bearer(), "content-type": "application/json"},
    )
    assert (big.status_code, big.headers.get_list("access-control-allow-origin")) == (413, ["*"])


async def test_the_edges_own_pages_can_be_read_from_anywhere(edge: Edge) -> None:
    for path in ("/openapi.json", "/docs", "/healthz", "/readyz"):
        answer = await edge.http.get(path, headers=ORIGIN)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


async def preflight(edge: Edge, path: str, verb: str, *headers: str) -> httpx.Response:
    asked = {"access-control-request-method": verb, "access-control-request-headers": ", ".join(headers)}
    return await edge.http.options(path, headers={**ORIGIN, **asked})


@pytest.mark.parametrize("path", [MOVIE, RATING, "/openapi.json", "/docs", "/nope", "/marquee.x.v1.X/Y"])
async def test_a_page_may_ask_before_any_call(edge: Edge, path: str) -> None:
    answer = await preflight(edge, path, "GET", "authorization")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


async def test_a_page_may_send_what_the_docs_speak_of(edge: Edge) -> None:
    root = Path(__file__).parents[3]
    docs = "".join(page.read_text() for page in [root / "README.md", *(root / "docs").rglob("*.md")])
    named = {name.lower() for name in re.findall(r"""-H ['"]([A-Za-z-]+):""", docs)}
    named |= set(re.findall(r"\bsends? `([a-z-]+): ", docs))
    named.discard("marquee-trace")  # an operator's key: no page has it
    assert {"authorization", "content-type", "marquee-release", "cache-control"} <= named
    # And what the edge or the services look at in a request, or hand on for traces.
    named |= {"if-none-match", "x-request-id", "traceparent", "tracestate", "marquee-client", "grpc-timeout"}
    allowed = (await preflight(edge, MOVIE, "GET", *named)).headers["access-control-allow-headers"]
    assert named <= set(re.split(r",\s*", allowed))


async def test_a_page_can_read_every_header_that_answers_have(edge: Edge) -> None:
    edge.service.headers[:] = [
        ("etag", '"v1"'),
        ("cache-control", "public, max-age=1"),
        ("x-marquee-source", "omdb"),
    ]
    calls = [
        ("GET", MOVIE),
        ("GET", RATING),
        ("POST", MOVIE),
        ("GET", "/nope"),
        ("GET", "/v1/movies:search?query=ab"),
    ]
    # Any page may read these (Fetch, 2.2.2), or none needs to: they are between client and edge.
    needless = {
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "last-modified",
    }
    needless |= {"connection", "transfer-encoding", "server", "vary", "content-encoding"}
    for verb, path in calls:
        answer = await edge.http.request(verb, path, headers=ORIGIN)
        exposed = set(re.split(r",\s*", answer.headers["access-control-expose-headers"]))
        unread = (
            {name for name in answer.headers if not name.startswith("access-control-")} - needless - exposed
        )
        assert not unread, (verb, path)
