"""What a contract that this API does not have yet would refuse in a URL."""

import re
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from edge import contract, queries

STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _message(
    file: descriptor_pb2.FileDescriptorProto, name: str, *fields: tuple[str, str, str, bool]
) -> None:
    message = file.message_type.add(name=name)
    for number, (field, json_name, message_type, many) in enumerate(fields, 1):
        added = message.field.add(name=field, json_name=json_name, number=number)
        added.type = MESSAGE if message_type else STRING
        added.type_name = message_type
        if many:
            added.label = MANY


def _contract() -> list[contract.Method]:
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="marquee.x.v1")
    _message(file, "Thing", ("display_name", "displayName", "", False), ("note", "note", "", False))
    thing = ("my_thing", "myThing", ".marquee.x.v1.Thing", False)
    _message(file, "UpdateRequest", thing, ("request_id", "requestId", "", False), ("tag", "tag", "", False))
    _message(file, "ListRequest", ("tag", "tag", "", True), ("filter", "filter", "", False))
    service = file.service.add(name="XService")
    for name, verb, path, body in (
        ("Update", "patch", "/v1/{my_thing.display_name=things/*}", "my_thing"),
        ("List", "get", "/v1/things", ""),
    ):
        method = service.method.add(name=name, input_type=f".marquee.x.v1.{name}Request")
        method.output_type = ".marquee.x.v1.Thing"
        rule = method.options.Extensions[annotations_pb2.http]
        setattr(rule, verb, path)
        rule.body = body
    return contract.public_methods(descriptor_pb2.FileDescriptorSet(file=[file]))


def _refused(verb: str, url: str) -> bool:
    return any(_takes(route["match"], verb, url) for route in queries.refusals(_contract()))


def _takes(match: dict[str, Any], verb: str, url: str) -> bool:
    if "safe_regex" in match and not re.fullmatch(match["safe_regex"]["regex"], url.split("?")[0]):
        return False
    asked = {":method": verb, ":path": url}
    return all(
        bool(re.fullmatch(header["string_match"]["safe_regex"]["regex"], asked[header["name"]]))
        != header.get("invert_match", False)
        for header in match["headers"]
    )


def test_a_field_within_the_one_in_the_path_can_be_spelled_in_many_ways() -> None:
    for name in (
        "my_thing.display_name",
        "myThing.displayName",
        "my_thing.displayName",
        "myThing.display_name",
    ):
        assert _refused("PATCH", f"/v1/things/a?{name}=b")
        assert _refused("PATCH", f"/v1/things/a?request_id=c&{name}=b")


def test_no_part_of_the_body_is_taken_from_the_query() -> None:
    for name in ("my_thing", "myThing", "my_thing.note", "myThing.note"):
        assert _refused("PATCH", f"/v1/things/a?{name}=b")


def test_other_parameters_and_other_calls_are_let_through() -> None:
    for query in ("", "?request_id=a", "?requestId=a&tag=b", "?tag=my_thing.display_name"):
        assert not _refused("PATCH", f"/v1/things/a{query}"), query
    assert not _refused("GET", "/v1/things?my_thing.display_name=b")


def test_a_name_may_mean_one_value_here_and_several_there() -> None:
    assert _refused("PATCH", "/v1/things/a?tag=a&tag=b")
    assert not _refused("GET", "/v1/things?tag=a&tag=b")
    assert _refused("GET", "/v1/things?filter=a&filter=b")
    assert _refused("PATCH", "/v1/things/a?request_id=a&requestId=b")


def test_a_film_is_no_token() -> None:
    titles = (
        "Eyes+Wide+Shut",
        "eyewitness-news.example.com",
        "they.were.expendable",
        "a.b.c",
        "ewoks.caravan.x",
    )
    for title in titles:
        assert not _refused("GET", f"/v1/things?filter={title}"), title
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4iLCJhIjoxfQ.c2lnbmF0dXJl"
    for url in (f"/v1/things?filter={token}", f"/v1/things/{token}", f"/v1/things?x=1#{token}"):
        assert _refused("GET", url)
