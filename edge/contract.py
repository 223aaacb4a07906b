"""The public API as its descriptor set tells it: what the routes and the API description are made from."""

import importlib.resources
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2

from edge import files

_MASK: Final = "google.protobuf.FieldMask"
_VERBS: Final = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True)
class Binding:
    """One way to call a method over HTTP (a `google.api.http` rule)."""

    verb: str
    """GET, PUT, POST, DELETE or PATCH."""
    template: str
    """The path template, such as `/v1/{name=movies/*}`."""
    body: str
    """The field that the body is read into: "" for none, "*" for the whole request."""

    @property
    def path_regex(self) -> str:
        """The paths this binding takes, as an anchored RE2 expression.

        A single `*` does not match a colon in the last segment: what follows a colon there is a custom verb.
        """
        template = re.sub(r"\{[^}=]+=([^}]+)\}", r"\1", self.template)
        template = re.sub(r"\{[^}]+\}", "*", template)
        head, _, tail = template.rpartition("/")
        return (
            "^"
            + re.escape(head).replace(r"\*", "[^/]+")
            + "/"
            + re.escape(tail).replace(r"\*", "[^/:]+")
            + "$"
        )

    @property
    def path_fields(self) -> tuple[str, ...]:
        """The request's fields that the path holds, such as `name` or `rating.name`."""
        return tuple(re.findall(r"\{([^}=]+)", self.template))


@dataclass(frozen=True)
class QueryField:
    """A field of a request as a query parameter may set it; also one that stands within others."""

    path: str
    """Its name in the contract, with those of the fields that it stands in: `rating.request_id`."""
    spellings: tuple[str, ...]
    """All names that the transcoder takes for it: `rating.request_id`, `rating.requestId`."""
    once: bool
    """Whether it holds one plain value, so that giving it twice is a mistake."""
    mask: bool
    """Whether it says which fields the answer should have."""


@dataclass(frozen=True)
class Method:
    """One RPC of a public service."""

    service: str
    """The service's full name, such as `marquee.movies.v1.MovieService`."""
    name: str
    input_type: str
    """The request's full name."""
    output_type: str
    """The response's full name."""
    client_streaming: bool
    server_streaming: bool
    bindings: tuple[Binding, ...]
    fields: str
    """The request's JSON fields by both their spellings, each with its own; see envoy/module/fields.c."""
    query_fields: tuple[QueryField, ...]
    """All fields of the request, those within others too."""
    deprecated: bool = False

    @property
    def full_name(self) -> str:
        """Such as `marquee.movies.v1.MovieService.GetMovie`."""
        return f"{self.service}.{self.name}"

    @property
    def grpc_path(self) -> str:
        """The path of its gRPC calls."""
        return f"/{self.service}/{self.name}"


def load() -> descriptor_pb2.FileDescriptorSet:
    """Reads the descriptor set that the stubs' wheel ships."""
    data = (importlib.resources.files("marquee") / "descriptors.binpb").read_bytes()
    return descriptor_pb2.FileDescriptorSet.FromString(data)


def public_methods(descriptors: descriptor_pb2.FileDescriptorSet) -> list[Method]:
    """The methods of every service that has at least one HTTP binding; the other services are internal."""
    messages = {
        f"{file.package}.{each.name}": each for file in descriptors.file for each in file.message_type
    }
    found: list[Method] = []
    for file in descriptors.file:
        for service in file.service:
            methods = [
                Method(
                    service=f"{file.package}.{service.name}",
                    name=method.name,
                    input_type=method.input_type.lstrip("."),
                    output_type=method.output_type.lstrip("."),
                    client_streaming=method.client_streaming,
                    server_streaming=method.server_streaming,
                    bindings=tuple(_bindings(method)),
                    fields=_json_fields(messages, method.input_type.lstrip(".")),
                    query_fields=tuple(_query_fields(messages, method.input_type.lstrip("."))),
                    deprecated=method.options.deprecated,
                )
                for method in service.method
            ]
            if any(method.bindings for method in methods):
                found.extend(methods)
    return found


def write_for_transcoder(descriptors: descriptor_pb2.FileDescriptorSet, path: Path) -> None:
    """Writes the descriptor set that Envoy's transcoder reads: without comments, with the types of errors.

    The transcoder can only print the details of an error whose types the set holds.
    """
    lean = descriptor_pb2.FileDescriptorSet()
    names = set()
    for file in descriptors.file:
        copied = lean.file.add()
        copied.CopyFrom(file)
        copied.ClearField("source_code_info")
        names.add(file.name)
    for name in _with_dependencies(error_details_pb2.DESCRIPTOR.name):
        if name not in names:
            names.add(name)
            copied = lean.file.add()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(copied)
    files.replace_bytes(path, lean.SerializeToString(deterministic=True))


def _bindings(method: descriptor_pb2.MethodDescriptorProto) -> Iterator[Binding]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb not in _VERBS:
            raise ValueError(
                f"{method.name}: the edge has no routes for the HTTP pattern {verb!r}; use one of {_VERBS}"
            )
        yield Binding(verb.upper(), getattr(each, verb), each.body)


def _json_fields(messages: Mapping[str, descriptor_pb2.DescriptorProto], name: str) -> str:
    found = []
    for field in messages[name].field:
        spelled = "/".join(dict.fromkeys((field.name, field.json_name)))
        nested = field.type_name.lstrip(".")
        is_own = nested.startswith("marquee.") and nested in messages and messages[nested].field
        found.append(f"{spelled}{{{_json_fields(messages, nested)}}}" if is_own else spelled)
    return ",".join(found)


def _query_fields(
    messages: Mapping[str, descriptor_pb2.DescriptorProto],
    name: str,
    parents: tuple[str, ...] = (),
    parent: str = "",
    repeated: bool = False,
) -> Iterator[QueryField]:
    for field in messages[name].field:
        nested = field.type_name.lstrip(".")
        path = f"{parent}{field.name}"
        own = dict.fromkeys((field.name, field.json_name))
        spellings = tuple(before + each for before in parents or ("",) for each in own)
        many = repeated or field.label == field.LABEL_REPEATED
        plain = field.type != field.TYPE_MESSAGE
        yield QueryField(path, spellings, plain and not many, nested == _MASK)
        if nested.startswith("marquee.") and nested in messages:
            inside = tuple(f"{each}." for each in spellings)
            yield from _query_fields(messages, nested, inside, f"{path}.", many)


def _with_dependencies(name: str) -> Iterator[str]:
    for dependency in descriptor_pool.Default().FindFileByName(name).dependencies:
        yield from _with_dependencies(dependency.name)
    yield name
