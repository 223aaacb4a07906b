"""The pages made from the contract: every call, message and event, in the words of its comments."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2

from edge import contract, keywords

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE: Final = "marquee."
_RULES: Final = "marquee.rules."
_BEHAVIORS: Final = {
    field_behavior_pb2.REQUIRED: "required",
    field_behavior_pb2.OUTPUT_ONLY: "in answers only",
    field_behavior_pb2.IDENTIFIER: "the resource's name",
}
_TITLES: Final = {"movies": "Movies", "ratings": "Ratings", "rankings": "Rankings"}
_HEAD: Final = """# {title}: the contract

{about}

Made from `protos/marquee/{name}/` when this site is built. [The API](../api.md) says what holds for all
calls; `/docs` of a running edge lets you try them.
"""


@dataclass
class _Package:
    """The files of one package."""

    services: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    about: str = ""


class _File:
    """One proto, with its comments."""

    def __init__(self, descriptor: descriptor_pb2.FileDescriptorProto) -> None:
        self.descriptor = descriptor
        places = descriptor.source_code_info.location
        self._comments = {tuple(place.path): place.leading_comments for place in places}

    def comment(self, *path: int) -> str:
        """What stands before a part of the file, as Markdown."""
        text = re.sub(r"^ ", "", self._comments.get(path, ""), flags=re.MULTILINE)
        return text.strip()

    def services(self) -> Iterator[str]:
        """Of each service, what it is and its calls."""
        for number, service in enumerate(self.descriptor.service):
            parts = [f"## {service.name}\n\n{self.comment(6, number)}\n"]
            for index, method in enumerate(service.method):
                parts.append(self._method(method, (6, number, 2, index)))
            yield "\n".join(parts)

    def messages(self) -> Iterator[str]:
        """Of each enum and message, what it is and its parts."""
        for number, enum in enumerate(self.descriptor.enum_type):
            yield self._enum(enum.name, enum, (5, number))
        for number, message in enumerate(self.descriptor.message_type):
            yield from self._message(message.name, message, (4, number))

    def _method(self, method: descriptor_pb2.MethodDescriptorProto, path: tuple[int, ...]) -> str:
        asked, answered = _shown(method.input_type), _shown(method.output_type)
        asked = f"stream of {asked}" if method.client_streaming else asked
        answered = f"stream of {answered}" if method.server_streaming else answered
        lines = [f"### {method.name}\n", f"{self.comment(*path)}\n", f"* gRPC: {asked} → {answered}"]
        rule = method.options.Extensions[annotations_pb2.http]
        lines += [
            f"* HTTP: `{verb.upper()} {getattr(each, verb)}`"
            for each in (rule, *rule.additional_bindings)
            if (verb := each.WhichOneof("pattern"))
        ]
        return "\n".join(lines) + "\n"

    def _message(
        self, name: str, message: descriptor_pb2.DescriptorProto, path: tuple[int, ...]
    ) -> Iterator[str]:
        if message.options.map_entry:
            return
        lines = [f"### {name}\n", f"{self.comment(*path)}\n"]
        if message.field:
            lines += ["| field | type | what it is |", "|---|---|---|"]
        for number, each in enumerate(message.field):
            said = _cell(keywords.described(self.comment(*path, 2, number), each))
            lines.append(f"| `{each.name}` | {_type(each, message)} | {said}{_behaviors(each)} |")
        yield "\n".join(lines) + "\n"
        for number, enum in enumerate(message.enum_type):
            yield self._enum(f"{name}.{enum.name}", enum, (*path, 4, number))
        for number, nested in enumerate(message.nested_type):
            yield from self._message(f"{name}.{nested.name}", nested, (*path, 3, number))

    def _enum(self, name: str, enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...]) -> str:
        lines = [f"### {name}\n", f"{self.comment(*path)}\n", "| value | what it is |", "|---|---|"]
        for number, value in enumerate(enum.value):
            lines.append(f"| `{value.name}` | {_cell(self.comment(*path, 2, number))} |")
        return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Writes a page for each package into a folder of its own."""
    folder.mkdir(parents=True)
    for name, text in render(contract.load()).items():
        (folder / f"{name}.md").write_text(text)


def render(descriptors: descriptor_pb2.FileDescriptorSet) -> Mapping[str, str]:
    """The pages, by the names of the packages."""
    public = {method.service for method in contract.public_methods(descriptors)}
    packages: dict[str, _Package] = {}
    # What clients call comes before what services say to each other.
    for each in sorted(descriptors.file, key=lambda file: not public & _services(file)):
        if not each.package.startswith(_PACKAGE) or each.package.startswith(_RULES):
            continue
        package = packages.setdefault(each.package.split(".")[1], _Package())
        file = _File(each)
        package.about = package.about or file.comment(2)
        package.services += file.services()
        package.messages += file.messages()
    return {name: _page(name, package) for name, package in packages.items()}


def _page(name: str, package: _Package) -> str:
    head = _HEAD.format(title=_TITLES.get(name, name.capitalize()), name=name, about=package.about)
    return "\n".join([head, *package.services, "## Messages\n", *package.messages])


def _services(file: descriptor_pb2.FileDescriptorProto) -> set[str]:
    return {f"{file.package}.{service.name}" for service in file.service}


def _type(each: descriptor_pb2.FieldDescriptorProto, within: descriptor_pb2.DescriptorProto) -> str:
    for nested in within.nested_type:
        if nested.options.map_entry and each.type_name.endswith(f".{nested.name}"):
            key, value = nested.field
            return f"map of {_type(key, nested)} to {_type(value, nested)}"
    shown = _shown(each.type_name) if each.type_name else f"`{_Field.Type.Name(each.type)[5:].lower()}`"
    return f"list of {shown}" if each.label == _Field.LABEL_REPEATED else shown


def _shown(name: str) -> str:
    """A message's name; a link to it if it is one of ours."""
    full = name.lstrip(".")
    if not full.startswith(_PACKAGE):
        return f"`{full}`"
    _, package, _, short = full.split(".", 3)
    return f"[{short}]({package}.md#{short.lower().replace('.', '')})"


def _behaviors(each: descriptor_pb2.FieldDescriptorProto) -> str:
    found = [
        said
        for number, said in _BEHAVIORS.items()
        if number in each.options.Extensions[field_behavior_pb2.field_behavior]
    ]
    return f" *({', '.join(found)})*" if found else ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
