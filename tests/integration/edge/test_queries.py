"""Query strings: one meaning each, and never another one than the path's."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from marquee.rankings.v1 import rankings_pb2

from edge import contract
from edge.contract import Binding, Method
from tests.integration.edge.test_hostile import raw_exchange
from tests.support.edge.mesh import Edge

METHODS = contract.public_methods(contract.load())
BINDINGS = [(method, binding) for method in METHODS for binding in method.bindings]
BOUND = [pair for pair in BINDINGS if pair[1].path_fields]
NAMES = [f"{binding.verb} {binding.template}" for _, binding in BINDINGS]


def path_of(binding: Binding) -> str:
    """Of this binding, for one movie or user."""
    path = re.sub(r"\{[^}=]+=([^}]+)\}", r"\1", binding.template)
    return path.replace("users/*", "users/me").replace("*", "tt0111161")


async def ask(edge: Edge, binding: Binding, query: str) -> int:
    """Just these bytes: httpx would tidy them up."""
    body = b'{"score":7}' if binding.body and "batchRate" not in binding.template else b"{}"
    lines = [f"{binding.verb} {path_of(binding)}{query} HTTP/1.1", "host: x", "connection: close"]
    lines.append(f"authorization: Bearer {edge.token()}")
    if binding.body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + (body if binding.body else b"")
    status, _ = await raw_exchange(edge, request)
    return status


def escaped(name: str) -> Iterator[str]:
    """The name, percent-encoded in part and wholly."""
    yield f"%{ord(name[0]):02x}{name[1:]}"
    yield f"{name[:-1]}%{ord(name[-1]):02X}"
    yield "".join(f"%{ord(letter):02X}" for letter in name)


def spellings(method: Method, field: str) -> list[str]:
    """Queries that give the field another value."""
    (known,) = [each for each in method.query_fields if each.path == field]
    other = "users/bob" if field == "parent" else "movies/tt0468569"
    found = []
    for name in known.spellings:
        words = [
            name,
            f"{name}.x",
            f"{name}.name",
            *escaped(name),
            name.upper(),
            name.capitalize(),
            f"+{name}",
        ]
        found += [f"?{word}={other}" for word in words]
        found += [
            f"?{name}=",
            f"?{name}",
            f"?{name}%3D{other}",
            f"?&{name}={other}",
            f"?pageSize=1&{name}={other}",
        ]
        found += [
            f"?requestId=a&{name}={other}",
            f"?{name}={other}&requestId=a",
            f"?;{name}={other}",
            f"??{name}=a",
        ]
        found += [f"?{name}={path_value}" for path_value in ("users/me/ratings/tt0111161", "users/me")]
        found += [f"?{name}=a&{name}=b"]
    return found


@pytest.mark.parametrize(
    ("method", "binding"), BOUND, ids=[f"{binding.verb} {binding.template}" for _, binding in BOUND]
)
async def test_no_parameter_replaces_what_the_path_says(edge: Edge, method: Method, binding: Binding) -> None:
    assert await ask(edge, binding, "") == 200
    edge.service.calls.clear()
    for field in binding.path_fields:
        for query in spellings(method, field):
            assert await ask(edge, binding, query) == 400, (binding.template, query)
            if binding.verb == "GET":
                head = await edge.http.head(path_of(binding) + query, headers=edge.bearer())
                assert head.status_code in (400, 405), (binding.template, query)
    assert edge.service.calls == []


async def test_the_other_rating_is_not_deleted(edge: Edge) -> None:
    answer = await edge.http.delete(
        "/v1/users/me/ratings/tt0111161?name=users/me/ratings/tt0468569", headers=edge.bearer()
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("name: ")
    assert edge.service.calls == []


@pytest.mark.parametrize(("method", "binding"), BINDINGS, ids=NAMES)
async def test_one_value_is_not_given_twice(edge: Edge, method: Method, binding: Binding) -> None:
    once = [field for field in method.query_fields if field.once and field.path not in binding.path_fields]
    for field in once:
        first, last = field.spellings[0], field.spellings[-1]
        for query in (f"?{first}=1&{last}=2", f"?{last}=1&x=2&{first}=1", f"?{first}=&{first}="):
            assert await ask(edge, binding, query) == 400, query
    assert edge.service.calls == []


async def test_what_may_have_several_values_may(edge: Edge) -> None:
    path = "/v1/movies:batchGet?names=movies/tt1&names=movies/tt1&readMask=title&read_mask=year"
    assert (await edge.http.get(path)).status_code == 200
    (call,) = edge.service.calls
    assert list(call.request.names) == ["movies/tt1", "movies/tt1"]
    assert list(call.request.read_mask.paths) == ["title", "year"]


@pytest.mark.parametrize("query", ["?score=3", "?requestId=a", "?x", "?&score=3", "?x=y"])
async def test_what_belongs_into_the_body_is_not_taken_from_the_query(edge: Edge, query: str) -> None:
    for _, binding in BINDINGS:
        if binding.body == "*":
            assert await ask(edge, binding, query) == 400
    assert edge.service.calls == []


@pytest.mark.parametrize(
    "query",
    ["?genre", "?nope", "?=x", "?genre=Drama&nope", "?genre=Drama&=x", "?%67enre=Drama", "?genre%3DDrama"],
)
async def test_nothing_in_a_query_is_skipped_without_a_word(edge: Edge, query: str) -> None:
    answer = await edge.http.get("/v1/movies" + query)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "NAME=VALUE" in answer.json()["error"]["message"]
    assert edge.service.calls == []


@pytest.mark.parametrize(
    "query", ["", "?", "?&", "?genre=", "?genre=Drama&", "?&&genre=Drama&&", "?genre=a=b", "?genre=a?b"]
)
async def test_what_a_form_leaves_empty_does_no_harm(edge: Edge, query: str) -> None:
    assert (await edge.http.get("/v1/movies" + query)).status_code == 200


PLUS = [
    ("/v1/movies:lookup?title=", "Matrix,{}The&year=1999", "title", "Matrix, The"),
    ("/v1/movies:search?query=", "{}the{}{}matrix{}", "query", " the  matrix "),
    ("/v1/movies:search?query=", "one%2Bone{}is+two&type=MOVIE_TYPE_MOVIE", "query", "one+one is two"),
    ("/v1/movies?orderBy=", "year{}desc", "order_by", "year desc"),
    ("/v1/charts/top-rated?genre=", "Film{}Noir", "genre", "Film Noir"),
    ("/v1/movies:search?query=ab&pageToken=", "a{}b", "page_token", "a b"),
]


@pytest.mark.parametrize(("path", "query", "field", "text"), PLUS, ids=[each[1] for each in PLUS])
async def test_a_plus_is_a_space(edge: Edge, path: str, query: str, field: str, text: str) -> None:
    requests: list[Any] = []
    for space in ("+", "%20"):
        assert (await edge.http.get(path + query.replace("{}", space))).status_code == 200
        requests.append(edge.service.calls[-1].request)
    assert getattr(requests[0], field) == text
    assert requests[0] == requests[1]


@pytest.mark.parametrize("plus", ["%2B", "%2b"])
async def test_an_encoded_plus_stays_one_and_so_does_one_in_a_path(edge: Edge, plus: str) -> None:
    await edge.http.get(f"/v1/movies:lookup?title=C{plus}{plus}")
    assert edge.service.calls[-1].request.title == "C++"
    await edge.http.get("/v1/movies/a+b")
    assert edge.service.calls[-1].request.name == "movies/a+b"


async def test_the_cache_takes_no_spelling_for_another(edge: Edge) -> None:
    edge.service.headers[:] = [("cache-control", "public, max-age=60")]
    genres = {
        "Sci+Fi": "Sci Fi",
        "Sci%20Fi": "Sci Fi",
        "Sci%2BFi": "Sci+Fi",
        "Sci%2bFi": "Sci+Fi",
        "SciFi": "SciFi",
    }

    async def named(request: Any, context: Any) -> Any:
        return rankings_pb2.ListTopRatedResponse(entries=[rankings_pb2.ChartEntry(title=request.genre)])

    edge.service.handlers["ListTopRated"] = named
    for _ in range(3):
        for spelling, genre in genres.items():
            answer = await edge.http.get(f"/v1/charts/top-rated?genre={spelling}")
            assert answer.json()["entries"][0]["title"] == genre
    assert len(edge.service.calls) < 3 * len(genres), "some came from the cache"


@pytest.mark.parametrize(
    "query", ["fields.paths=title", "readMask.paths=title", "read_mask.paths=title", "x=1&fields.paths=title"]
)
async def test_a_mask_by_its_paths_asks_for_no_zeros_either(edge: Edge, query: str) -> None:
    path = "/v1/movies/tt0111161?" + query.replace("x=1", "fullPlot=true")
    assert "stale" not in (await edge.http.get(path)).json()


@pytest.mark.parametrize("query", ["fields=", "fields=&fullPlot=true", "readMask=&fields="])
async def test_an_empty_mask_is_none(edge: Edge, query: str) -> None:
    assert (await edge.http.get(f"/v1/movies/tt0111161?{query}")).json()["stale"] is False
