"""The API's description says what the contract says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from edge import contract, policies
from edge.limits import Limits
from edge.openapi import describe


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(contract.load(), policies.load_table(), Limits.load())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_http_binding_is_described(document: dict[str, Any]) -> None:
    described = {(verb.upper(), operation["operationId"]) for _, verb, operation in operations(document)}
    methods = contract.public_methods(contract.load())
    assert described == {(each.verb, method.name) for method in methods for each in method.bindings}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place["description"]


def test_operations_and_fields_say_what_they_are(document: dict[str, Any]) -> None:
    for path, verb, operation in operations(document):
        assert operation["summary"], (path, verb)
        for parameter in operation["parameters"]:
            assert parameter["description"], (path, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("description") or name == "Error", (name, field)


def test_internal_services_are_not_described(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "Admin" not in text
    assert "StreamTotals" not in text


def test_the_json_mapping_is_protos(document: dict[str, Any]) -> None:
    movie = document["components"]["schemas"]["Movie"]["properties"]
    assert movie["runtimeMinutes"]["type"] == "integer"
    assert movie["fetchTime"] == {
        "type": "string",
        "format": "date-time",
        "description": "When it was read from there.",
        "readOnly": True,
    }
    assert movie["unparsed"]["additionalProperties"] == {"type": "string"}
    assert movie["genres"]["items"] == {"type": "string"}
    assert "MOVIE_TYPE_SERIES" in document["components"]["schemas"]["MovieType"]["enum"]


def test_paths_use_the_resources_names(document: dict[str, Any]) -> None:
    assert {"/v1/movies/{movie}", "/v1/users/{user}/ratings/{movie}"} <= set(document["paths"])
    lookup = document["paths"]["/v1/movies:lookup"]["get"]["parameters"]
    assert {each["name"]: each["required"] for each in lookup} == {
        "title": True,
        "year": False,
        "type": False,
        "readMask": False,
        "fields": False,
    }


def test_what_needs_a_token_says_so(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        optional = {} in operation["security"]
        assert optional != path.startswith("/v1/users/"), path


def test_the_limits_are_told(document: dict[str, Any]) -> None:
    bucket = Limits.load().tiers["free"]["writes"]
    assert f"| free | writes | {bucket.burst} | {bucket.per_second} |" in document["info"]["description"]
