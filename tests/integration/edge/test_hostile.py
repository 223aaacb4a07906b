"""Whatever a client sends, it gets a clear refusal: never a 5xx, never silence."""

import gzip
import json
from collections.abc import AsyncIterator
from urllib.parse import unquote

import httpx
import pytest

from tests.support.edge.mesh import Edge
from tests.support.edge.raw import raw_exchange

RATING = "/v1/users/me/ratings/tt0111161"


def refused(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["code"] == status
    assert words in error["message"]
    assert error["details"][0]["domain"] == "marquee"


BODIES = [
    (b'{"score": 5.5}', "score: invalid value 5.5"),
    (b'{"score": "ten"}', 'score: invalid value "ten"'),
    (b'{"score": true}', "score: invalid value true"),
    (b'{"score": 99999999999}', "score: invalid value 99999999999"),
    (b'{"score": -99999999999999999999999}', "score"),
    (b'{"score": 1e400}', "1e400"),
    (b'{"score": NaN}', "NaN"),
    (b'{"score": {"a": 1}}', "score"),
    (b'{"score": [7]}', "not repeating"),
    (b'{"scor": 7}', 'no field "scor"'),
    (b'{"score": 7, "requestID": "x"}', 'no field "requestID"'),
    (b'{"score": 7, "sc\\u006fre": 8}', "twice"),
    (b'{"score": 7, "sc\\u006frE": 8}', 'no field "scorE"'),
    (b'{"score": 7, "scor\\\\u0065": 8}', "no field"),
    (b'{"score": 7, "": 8}', 'no field ""'),
    (b'{"score": 7, "Score": 8}', 'no field "Score"'),
    (b'{"score": 7, "score": 8}', '"score" twice'),
    (b'{"score": 7, "requestId": "a", "request_id": "b"}', '"request_id" twice'),
    (b'{"score": 7, "requestId": null, "requestId": "b"}', '"requestId" twice'),
    (b"{'score':7,'requestID':'x'}", "not JSON"),
    (b"{'score': 7, 'a\\'b': 1}", "not JSON"),
    (b'{score: 7, requestID: "x"}', "not JSON"),
    (b"{fun: 7}", "not JSON"),
    (b'{"score": 7, "requestId": \'a\'}', "not JSON"),
    (b'{"score": 7} // "x"', "not JSON"),
    (b'{"name": "users/bob/ratings/tt1", "score": 7}', "name"),
    (b"{", "Expected an object key"),
    (b"[]", "message"),
    (b'"x"', "message"),
    (b'{"score":7}{"score":8}', "end of input"),
    (b'{"requestId":"\xff\xfe"}', "UTF-8"),
    (b'{"requestId":"\\ud800"}', "surrogate"),
    (b'{"score":' * 10_000, "deep"),
    (b"[" * 10_000, "deep"),
]


@pytest.mark.parametrize(("body", "words"), BODIES, ids=[body[:24].decode("latin-1") for body, _ in BODIES])
async def test_a_bad_body_is_refused_by_name(edge: Edge, body: bytes, words: str) -> None:
    headers = {**edge.bearer(), "content-type": "application/json"}
    refused(await edge.http.put(RATING, content=body, headers=headers), 400, words)
    assert edge.service.calls == []


async def test_fields_are_looked_for_where_they_belong(edge: Edge) -> None:
    headers = {**edge.bearer(), "content-type": "application/json"}
    path = "/v1/users/me/ratings:batchRate"
    requests = b'[{"name": "a{\\"b\\": [", "score": 7}, {"request_id": "x: y", "score": 8}]'
    good = b'{"requests": ' + requests + b', "parent": "users/me"}'
    assert (await edge.http.post(path, content=good, headers=headers)).status_code == 200
    nested = b'{"requests": [{"score": 7}, {"scores": 8}]}'
    refused(await edge.http.post(path, content=nested, headers=headers), 400, 'no field "scores"')
    quoted = b"{'requests': [{'scores': 8}]}"
    refused(await edge.http.post(path, content=quoted, headers=headers), 400, "not JSON")
    twice = b'{"requests": [{"score": 7}, {"score": 8, "name": "a", "name": "b"}]}'
    refused(await edge.http.post(path, content=twice, headers=headers), 400, '"name" twice')
    misplaced = b'{"requests": [{"score": 7}], "score": 8}'
    refused(await edge.http.post(path, content=misplaced, headers=headers), 400, 'no field "score"')


@pytest.mark.parametrize(
    "body",
    [
        b'{"scor\\u0065": 7, "request\\u0049d": "a"}',
        b'{"requestId": "a", "score": 7}',
        b' {\n"score" : 7 , "request_id"\t:"a"}\r\n',
        b'{"score": 7, "requestId": "a", "name": null}',
        b'{"score": 7.0, "requestId": "a", "name": "users/me/ratings/tt0111161"}',
    ],
)
async def test_json_may_be_written_in_many_ways(edge: Edge, body: bytes) -> None:
    headers = {**edge.bearer(), "content-type": "application/json"}
    assert (await edge.http.put(RATING, content=body, headers=headers)).status_code == 200
    (call,) = edge.service.calls
    assert (call.request.name, call.request.score) == ("users/me/ratings/tt0111161", 7)
    assert call.request.request_id == "a"


async def test_a_text_may_hold_whatever_looks_like_json(edge: Edge) -> None:
    text = 'it\'s {nope: 1, "x": [2]} \\\\'
    answer = await edge.http.put(RATING, json={"score": 7, "requestId": text}, headers=edge.bearer())
    assert answer.status_code == 200
    assert edge.service.calls[-1].request.request_id == text


URLS = [
    ("/v1/movies/tt1?nope=1", "nope"),
    ("/v1/movies:search?query=ab&year=ten", 'year: invalid value "ten"'),
    ("/v1/movies:search?query=ab&year=5.5", "year: invalid value"),
    ("/v1/movies:search?query=ab&type=CARTOON", "type"),
    ("/v1/movies:search?query=%ff%fe", "UTF-8"),
    ("/v1/movies:search?query=%c0%af", "UTF-8"),
    ("/v1/movies:search?query=%e2%82", "UTF-8"),
    ("/v1/movies:search?query=%e0%80%80", "UTF-8"),
    ("/v1/movies:search?query=%ed%a0%80", "UTF-8"),
    ("/v1/movies:search?query=%f0%80%80%80", "UTF-8"),
    ("/v1/movies:search?query=%f4%90%80%80", "UTF-8"),
    ("/v1/movies:search?query=a%00b", "NUL"),
    ("/v1/movies:search?query=%zz", "percent-encoded"),
    ("/v1/movies:search?query=100%", "percent-encoded"),
    ("/v1/movies/tt%ff", "UTF-8"),
    ("/v1/movies/tt%00", "malformed"),
    ("/v1/movies/tt1%2fscore", "malformed"),
    ("/v1/movies/..%2f..%2fadmin", "malformed"),
]


@pytest.mark.parametrize(("url", "words"), URLS, ids=[url for url, _ in URLS])
async def test_a_bad_url_is_refused_by_name(edge: Edge, url: str, words: str) -> None:
    # Not through httpx, which would tidy it up.
    status, body = await raw_exchange(
        edge, f"GET {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )
    assert status == 400
    assert words in json.loads(body)["error"]["message"]
    assert edge.service.calls == []


@pytest.mark.parametrize(
    "text", ["%c3%a9", "%E2%82%AC", "%ed%9f%bf", "%f0%9f%8e%ac", "%F4%8F%BF%BF", "a%20b%26%25"]
)
async def test_every_text_can_be_searched_for(edge: Edge, text: str) -> None:
    status, _ = await raw_exchange(
        edge, f"GET /v1/movies:search?query={text} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )
    assert status == 200
    assert edge.service.calls[-1].request.query == unquote(text)


async def test_raw_bytes_in_a_url_are_refused(edge: Edge) -> None:
    request = b"GET /v1/movies:search?query=\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    status, _ = await raw_exchange(edge, request)
    assert status == 400
    assert edge.service.calls == []


@pytest.mark.parametrize("path", ["/v1/movies/../../admin", "//v1//movies//tt1", "/v1/./movies/tt1"])
async def test_a_path_has_one_spelling(edge: Edge, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    status, _ = await raw_exchange(edge, request)
    assert status == (404 if "admin" in path else 200)


async def test_a_body_of_two_megabytes_is_too_large(edge: Edge) -> None:
    body = b'{"requestId":"' + b"x" * 2_000_000 + b'"}'
    headers = {**edge.bearer(), "content-type": "application/json"}
    refused(await edge.http.put(RATING, content=body, headers=headers), 413, "too large")

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    # Without a content-length it only shows on the way.
    chunked = await edge.http.put(RATING, content=pieces(), headers=headers)
    assert chunked.status_code == 413
    assert edge.service.calls == []


async def test_a_batch_of_500_is_not_too_large(edge: Edge) -> None:
    requests = [{"name": f"users/me/ratings/tt{n:07}", "score": 7, "requestId": "x" * 36} for n in range(500)]
    answer = await edge.http.post(
        "/v1/users/me/ratings:batchRate", json={"requests": requests}, headers=edge.bearer()
    )
    assert (answer.status_code, len(answer.json()["results"])) == (200, 500)


async def test_too_long_headers_and_urls_are_refused(edge: Edge) -> None:
    refused(await edge.http.get("/v1/movies/tt1", headers={"x-long": "y" * 60_000}), 431, "too large")
    refused(await edge.http.get("/v1/movies/" + "x" * 40_000), 431, "too large")
    many = {f"x-{number}": "y" for number in range(100)}
    refused(await edge.http.get("/v1/movies/tt1", headers=many), 431, "too large")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", None]
)
async def test_a_body_must_be_json(edge: Edge, content_type: str | None) -> None:
    headers = edge.bearer() | ({"content-type": content_type} if content_type else {})
    refused(await edge.http.put(RATING, content=b'{"score":7}', headers=headers), 415, "application/json")


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "gzip, identity", "nonsense"])
async def test_a_body_must_not_be_compressed(edge: Edge, coding: str) -> None:
    headers = {**edge.bearer(), "content-type": "application/json", "content-encoding": coding}
    for verb, path in (("PUT", RATING), ("POST", "/v1/users/me/ratings:batchRate")):
        answer = await edge.http.request(verb, path, content=gzip.compress(b'{"score":7}'), headers=headers)
        refused(answer, 415, "must not be compressed")
        assert answer.json()["error"]["details"][0]["reason"] == "CONTENT_ENCODING_NOT_TAKEN"
        assert answer.headers["accept-encoding"] == "identity"
    assert edge.service.calls == []
    for plain in ("identity", "Identity", ""):
        answer = await edge.http.put(
            RATING, content=b'{"score":7}', headers={**headers, "content-encoding": plain}
        )
        assert answer.status_code == 200, plain


@pytest.mark.parametrize(
    ("verb", "path", "allow"),
    [
        ("POST", "/v1/movies/tt1", "GET, HEAD"),
        ("PATCH", RATING, "DELETE, GET, HEAD, PUT"),
        ("DELETE", "/v1/movies", "GET, HEAD"),
        ("TRACE", "/v1/charts/trending", "GET, HEAD"),
        ("GET", "/v1/users/me/ratings:batchRate", "POST"),
        ("OPTIONS", "/v1/movies/tt1", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("QUERY", "/v1/movies/tt1", "DELETE, GET, HEAD, POST, PUT"),
    ],
)
async def test_a_wrong_verb_is_told_the_right_ones(edge: Edge, verb: str, path: str, allow: str) -> None:
    answer = await edge.http.request(verb, path, headers=edge.bearer())
    refused(answer, 405, "no path takes QUERY" if verb == "QUERY" else allow)
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v2/movies/tt1", "/v1/movies/tt1/", "/v1/movies/tt1:nope", "/stats"]
)
async def test_other_paths_do_not_exist(edge: Edge, path: str) -> None:
    refused(await edge.http.get(path), 404, "nothing at this path")
