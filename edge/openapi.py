"""The API's description (OpenAPI 3.1), made from the contract, its comments and the limits.

`python -m edge.openapi` prints it. Field names and types are those of proto3's JSON mapping
(https://protobuf.dev/programming-guides/json/).
"""

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.api import field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pb2

from edge import contract, keywords, policies
from edge.contract import Binding, Method
from edge.limits import Limits

VERSION: Final = "1.0.0"

_Field = descriptor_pb2.FieldDescriptorProto
_NUMBERS: Final[Mapping[int, dict[str, Any]]] = {
    _Field.TYPE_INT32: {"type": "integer", "format": "int32"},
    _Field.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    _Field.TYPE_INT64: {"type": "string", "format": "int64"},
    _Field.TYPE_UINT64: {"type": "string", "format": "uint64"},
    _Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _Field.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Field.TYPE_BOOL: {"type": "boolean"},
    _Field.TYPE_STRING: {"type": "string"},
    _Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: Final[Mapping[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.FieldMask": {"type": "string", "examples": ["title,year"]},
    "google.type.Date": {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in ("year", "month", "day")},
    },
}


def describe(
    descriptors: descriptor_pb2.FileDescriptorSet, table: Mapping[str, Any], limits: Limits
) -> dict[str, Any]:
    """The whole document."""
    return _Describer(descriptors, table, limits).document()


@dataclass(frozen=True)
class _Message:
    descriptor: descriptor_pb2.DescriptorProto
    comments: Mapping[tuple[int, ...], str]
    path: tuple[int, ...]

    def comment(self, *path: int) -> str:
        return self.comments.get((*self.path, *path), "")


class _Describer:
    """Collects the schemas that the operations speak of."""

    def __init__(
        self, descriptors: descriptor_pb2.FileDescriptorSet, table: Mapping[str, Any], limits: Limits
    ) -> None:
        self._table = table
        self._limits = limits
        self._methods = contract.public_methods(descriptors)
        self._messages: dict[str, _Message] = {}
        self._enums: dict[str, tuple[descriptor_pb2.EnumDescriptorProto, str, tuple[str, ...]]] = {}
        self._said: dict[str, str] = {}
        self._patterns: list[str] = []
        self._schemas: dict[str, Any] = {}
        for file in descriptors.file:
            self._read(file)

    def document(self) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for method in self._methods:
            for binding in method.bindings:
                path = self._path(binding)
                paths.setdefault(path, {})[binding.verb.lower()] = self._operation(method, binding, path)
        services = dict.fromkeys(method.service for method in self._methods)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Marquee",
                "version": VERSION,
                "summary": "Movies, what their watchers think of them, and charts.",
                "description": _about(self._limits),
            },
            "servers": [{"url": "/"}],
            "tags": [{"name": _short(name), "description": self._said[name]} for name in services],
            "paths": paths,
            "components": {
                "schemas": {**dict(sorted(self._schemas.items())), "Error": _ERROR},
                "responses": {"Error": _ERROR_RESPONSE},
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }

    def _read(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        comments = {
            tuple(place.path): _prose(place.leading_comments)
            for place in file.source_code_info.location
            if place.leading_comments
        }
        for index, message in enumerate(file.message_type):
            self._read_message(f"{file.package}.{message.name}", _Message(message, comments, (4, index)))
        for index, enum in enumerate(file.enum_type):
            self._read_enum(f"{file.package}.{enum.name}", enum, comments, (5, index))
        for index, service in enumerate(file.service):
            name = f"{file.package}.{service.name}"
            self._said[name] = comments.get((6, index), "")
            for number, method in enumerate(service.method):
                self._said[f"{name}.{method.name}"] = comments.get((6, index, 2, number), "")

    def _read_message(self, name: str, message: _Message) -> None:
        self._messages[name] = message
        if message.descriptor.options.HasExtension(resource_pb2.resource):
            self._patterns.extend(message.descriptor.options.Extensions[resource_pb2.resource].pattern)
        for index, nested in enumerate(message.descriptor.nested_type):
            path = (*message.path, 3, index)
            self._read_message(f"{name}.{nested.name}", _Message(nested, message.comments, path))
        for index, enum in enumerate(message.descriptor.enum_type):
            self._read_enum(f"{name}.{enum.name}", enum, message.comments, (*message.path, 4, index))

    def _read_enum(
        self,
        name: str,
        enum: descriptor_pb2.EnumDescriptorProto,
        comments: Mapping[tuple[int, ...], str],
        path: tuple[int, ...],
    ) -> None:
        values = tuple(comments.get((*path, 2, index), "") for index in range(len(enum.value)))
        self._enums[name] = (enum, comments.get(path, ""), values)

    def _path(self, binding: Binding) -> str:
        """`/v1/{name=movies/*}` → `/v1/movies/{movie}`, with the names of the resources' patterns."""
        return re.sub(r"\{[^}=]+=([^}]+)\}", lambda found: self._named(found[1]), binding.template)

    def _named(self, pattern: str) -> str:
        for known in self._patterns:
            if re.sub(r"\{[^}]+\}", "*", known) == pattern:
                return known
        words = pattern.split("/")
        named = [
            f"{{{words[index - 1].removesuffix('s')}}}" if word == "*" else word
            for index, word in enumerate(words)
        ]
        return "/".join(named)

    def _operation(self, method: Method, binding: Binding, path: str) -> dict[str, Any]:
        entry = self._table["services"][method.service]
        bound = set(re.findall(r"\{([^}=]+)=", binding.template))
        summary, _, rest = self._said[f"{method.service}.{method.name}"].partition("\n\n")
        first, dot, more = summary.partition(". ")
        described: dict[str, Any] = {
            "operationId": method.name,
            "tags": [_short(method.service)],
            "summary": first if dot else summary.rstrip("."),
            "description": "\n\n".join(part for part in (more, rest) if part),
            "parameters": [*keywords.path_parameters(path), *self._query_parameters(method, binding, bound)],
            "responses": {"200": self._answer(method), "default": {"$ref": "#/components/responses/Error"}},
            "x-marquee-limit": self._table["classes"][entry["methods"][method.name]]["limit"],
        }
        if method.deprecated:
            described["deprecated"] = True
        if binding.body:
            schema = self._object(method.input_type, without=bound)
            described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        # An empty requirement among others makes the token optional.
        described["security"] = [{"token": []}] if entry["token"] == "required" else [{}, {"token": []}]  # noqa: S105
        return described

    def _query_parameters(
        self, method: Method, binding: Binding, bound: set[str]
    ) -> Iterator[dict[str, Any]]:
        if binding.body:
            return
        message = self._messages[method.input_type]
        for index, field in enumerate(message.descriptor.field):
            if field.name not in bound:
                required = _behaves(field, field_behavior_pb2.REQUIRED)
                yield {
                    "name": field.json_name,
                    "in": "query",
                    "description": keywords.described(message.comment(2, index), field),
                    "required": required,
                    "schema": {**self._schema(field), **keywords.of(field, required)},
                }

    def _answer(self, method: Method) -> dict[str, Any]:
        reference = self._reference(method.output_type)
        if method.server_streaming:
            lines = {"application/x-ndjson": {"schema": reference}}
            return {"description": "One JSON object a line, each as soon as there is one.", "content": lines}
        return {"description": "Done.", "content": {"application/json": {"schema": reference}}}

    def _schema(self, field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
        entry = self._messages.get(field.type_name.lstrip("."))
        if entry and entry.descriptor.options.map_entry:
            return {"type": "object", "additionalProperties": self._schema(entry.descriptor.field[1])}
        if field.label == _Field.LABEL_REPEATED:
            return {"type": "array", "items": self._one(field)}
        return self._one(field)

    def _one(self, field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
        if field.type in _NUMBERS:
            return dict(_NUMBERS[field.type])
        return self._reference(field.type_name.lstrip("."))

    def _reference(self, name: str) -> dict[str, Any]:
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        short = re.sub(r"^marquee\.[a-z]+\.v1\.", "", name)
        if short not in self._schemas:
            self._schemas[short] = {}  # so that a message that holds itself ends
            self._schemas[short] = self._enum(name) if name in self._enums else self._object(name)
        return {"$ref": f"#/components/schemas/{short}"}

    def _enum(self, name: str) -> dict[str, Any]:
        enum, said, values = self._enums[name]
        lines = [f"- `{value.name}`: {text}" for value, text in zip(enum.value, values, strict=True)]
        described = "\n".join([said, "", *lines])
        return {"type": "string", "enum": [value.name for value in enum.value], "description": described}

    def _object(self, name: str, without: Collection[str] = ()) -> dict[str, Any]:
        message = self._messages[name]
        properties: dict[str, Any] = {}
        required = []
        for index, field in enumerate(message.descriptor.field):
            if field.name in without:
                continue
            must = _behaves(field, field_behavior_pb2.REQUIRED)
            described = {**self._schema(field), **keywords.of(field, must)}
            if said := keywords.described(message.comment(2, index), field):
                described["description"] = said
            if _behaves(field, field_behavior_pb2.OUTPUT_ONLY):
                described["readOnly"] = True
            if must:
                required.append(field.json_name)
            properties[field.json_name] = described
        found: dict[str, Any] = {
            "type": "object",
            "description": message.comment(),
            "properties": properties,
            "additionalProperties": False,
        }
        return {**found, "required": required} if required else found


_ERROR: Final = {
    "type": "object",
    "description": "What went wrong (https://google.aip.dev/193).",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "status", "message", "details"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "status": {"type": "string", "description": "The gRPC code's name."},
                "message": {"type": "string", "description": "What happened, for people."},
                "details": {
                    "type": "array",
                    "description": "For programs: ErrorInfo with a reason, BadRequest, RetryInfo and others.",
                    "items": {
                        "type": "object",
                        "required": ["@type"],
                        "properties": {"@type": {"type": "string"}},
                    },
                },
            },
        }
    },
}
_ERROR_RESPONSE: Final = {
    "description": "Not done; the body says why.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def _about(limits: Limits) -> str:
    rows = [
        f"| {tier} | {kind} | {bucket.burst} | {bucket.per_second} |"
        for tier, buckets in limits.tiers.items()
        for kind, bucket in buckets.items()
    ]
    return "\n".join(
        [
            "The same port speaks gRPC too. Ratings need a token; reading is for everybody.",
            "",
            "A client is the token's user, or the address of a caller without a token. What one may do:",
            "",
            "| tier | calls | at once | a second after that |",
            "|---|---|---|---|",
            *rows,
            "",
            f"A tier that is not listed counts as `{limits.default_tier}`. Beyond, the answer is 429 with",
            f"`retry-after`. A body has at most {limits.max_body_bytes:,} bytes.",
        ]
    )


def _short(service: str) -> str:
    return service.rpartition(".")[2].removesuffix("Service")


def _prose(comment: str) -> str:
    """A proto comment as Markdown: lines of a paragraph joined."""
    paragraphs = [
        " ".join(line.strip() for line in part.split("\n")) for part in comment.strip().split("\n\n")
    ]
    return "\n\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in paragraphs)


def _behaves(field: descriptor_pb2.FieldDescriptorProto, behavior: int) -> bool:
    behaviors: Sequence[int] = field.options.Extensions[field_behavior_pb2.field_behavior]
    return behavior in behaviors


def main() -> None:
    """Prints the description."""
    document = describe(contract.load(), policies.load_table(), Limits.load())
    json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
    print()


if __name__ == "__main__":
    main()
