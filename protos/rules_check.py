"""Refuses rules of requests that contradict themselves, and fields of requests that have none.

Run when the stubs are built, over what was built: python rules_check.py FOLDER
"""

import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_WHOLE = {
    getattr(_Field, f"TYPE_{name}")
    for name in ("INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64", "FIXED32", "FIXED64")
}
_MASK = ".google.protobuf.FieldMask"
_REQUIRED, _OPTIONAL = 2, 1
# What a rule can say of one value. No two of these go together.
_KINDS: dict[str, tuple[str, ...]] = {
    "whole number": ("gte", "lte", "multiple_of"),
    "text of people": ("min_len", "max_len"),
    "text for programs": ("pattern", "template", "format"),
    "enum": ("defined_only",),
    "field mask": ("mask_of",),
    "page's size": ("page",),
}
_TYPES = {
    "whole number": _WHOLE,
    "text of people": {_Field.TYPE_STRING},
    "text for programs": {_Field.TYPE_STRING},
    "enum": {_Field.TYPE_ENUM},
    "field mask": {_Field.TYPE_MESSAGE},
    "page's size": {_Field.TYPE_INT32},
}
_OF_LISTS = ("min_items", "max_items", "apart")


class Contract:
    """The messages of a descriptor set, and the rules in them."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, rules_pb2: Any, behavior: Any) -> None:
        self._rules = rules_pb2
        self._behavior = behavior
        self._files = files
        self._messages = {
            f".{name}": message
            for file in files.file
            for name, message in _messages(file.package, file.message_type)
        }
        enum = rules_pb2.Shape.DESCRIPTOR
        self._shapes = {one.number: one.GetOptions().Extensions[rules_pb2.shape] for one in enum.values}
        self._names = {one.name.removeprefix("SHAPE_").lower(): one.number for one in enum.values}

    def faults(self) -> Iterator[str]:
        """Says what is wrong, a sentence each."""
        for name, number in self._names.items():
            if number:
                rule = self._shapes[number]
                yield from (f"shape {name}: {fault}" for fault in self._of_itself(rule))
        inputs: set[str] = set()
        for file in self._files.file:
            if file.package.startswith("marquee."):
                for service in file.service:
                    for method in service.method:
                        inputs.add(method.input_type)
                        if method.options.Extensions[self._rules.apart] and not method.client_streaming:
                            yield f"{service.name}.{method.name}: apart: its requests are no stream"
        requests = set().union(*(self._within(name, ()) for name in inputs)) if inputs else set()
        for name, message in self._messages.items():
            for field in () if message.options.map_entry else message.field:
                for fault in self._of_field(field, name in requests):
                    yield f"{name[1:]}.{field.name}: {fault}"

    def _within(self, name: str, above: tuple[str, ...]) -> set[str]:
        """The message and those within it."""
        found = {name}
        for field in self._messages[name].field:
            if (
                field.type_name.startswith(".marquee.")
                and field.type == _Field.TYPE_MESSAGE
                and name not in above
            ):
                found |= self._within(field.type_name, (*above, name))
        return found

    def _of_field(self, field: descriptor_pb2.FieldDescriptorProto, asked: bool) -> Iterator[str]:
        own = field.options.Extensions[self._rules.rule]
        if not field.options.HasExtension(self._rules.rule):
            nested = field.type_name.startswith(".marquee.") and field.type == _Field.TYPE_MESSAGE
            plain = field.label != _Field.LABEL_REPEATED
            if asked and not (plain and (nested or field.type == _Field.TYPE_BOOL)):
                yield "a request's field has no rule; give it one, or say why it is free"
        elif not own.ListFields():
            yield "its rule says nothing"
        else:
            yield from self._of_rule(field, own)
        behaviors = field.options.Extensions[self._behavior]
        if asked and (_REQUIRED in behaviors) == (_OPTIONAL in behaviors):
            yield "it must be either REQUIRED or OPTIONAL"

    def _of_rule(self, field: descriptor_pb2.FieldDescriptorProto, own: Any) -> Iterator[str]:
        shape = self._shapes[own.shape]
        twice = sorted(
            {one.name for one, _ in shape.ListFields()} & {one.name for one, _ in own.ListFields()}
        )
        if twice:
            yield f"its shape says {', '.join(twice)} too"
        rule = type(own)()
        rule.CopyFrom(shape)
        rule.MergeFrom(own)
        rule.ClearField("shape")
        yield from self._of_itself(rule)
        mask = field.type_name == _MASK
        for kind in _kinds(rule):
            if field.type not in _TYPES[kind] or (kind == "field mask") != mask:
                yield f"it says what a {kind} takes, and the field is something else"
        many = field.label == _Field.LABEL_REPEATED
        said = [part for part in _OF_LISTS if _has(rule, part)]
        if said and not many:
            yield f"{', '.join(said)}: the field is no list"
        if rule.apart and field.type != _Field.TYPE_MESSAGE:
            yield "apart: its items are no messages"

    def _of_itself(self, rule: Any) -> Iterator[str]:
        """What is wrong with a rule whatever it is the rule of."""
        said = [one.name for one, _ in rule.ListFields()]
        if rule.free and len(said) > 1:
            yield "it is free, and has rules"
        if len(kinds := _kinds(rule)) > 1:
            yield f"it is a {' and a '.join(kinds)} at once"
        for low, high in (("gte", "lte"), ("min_len", "max_len"), ("min_items", "max_items")):
            if _has(rule, low) and _has(rule, high) and getattr(rule, low) > getattr(rule, high):
                yield f"{low} is above {high}"
        for part in ("min_len", "max_len", "min_items", "max_items"):
            if getattr(rule, part) < 0:
                yield f"{part} is negative"
        if rule.HasField("multiple_of"):
            yield from _of_steps(rule)
        if rule.HasField("page") and not 1 <= rule.page.size <= rule.page.most:
            yield f"a page has 1 or more, and {rule.page.size} up to {rule.page.most} can't be"
        if rule.mask_of and f".{rule.mask_of}" not in self._messages:
            yield f"there is no message {rule.mask_of}"
        yield from self._of_pattern(rule)
        try:
            rule.says.format(value="", gte=0, lte=0)
        except (LookupError, ValueError) as error:
            yield f"says: {error!r}: {{value}}, {{gte}} and {{lte}} are known"
        bounds = {part for _, part, _, _ in string.Formatter().parse(rule.says) if part in ("gte", "lte")}
        if any(not _has(rule, part) for part in bounds):
            yield "says: it names a bound that is not given"

    def _of_pattern(self, rule: Any) -> Iterator[str]:
        if rule.pattern and rule.template:
            yield "it has a pattern and a template"
        if (rule.pattern or rule.template) and not rule.says:
            yield "a pattern needs a sentence for people: says"
        if rule.format and not rule.pattern:
            yield "a format is a pattern's name"
        try:
            re.compile(rule.pattern)
        except re.error as error:
            yield f"pattern: {error}"
        if rule.template and not re.fullmatch(r"([a-z-]+|\{\w+\})(/([a-z-]+|\{\w+\}))*", rule.template):
            yield "template: it is no resource name, such as movies/{imdb_id}"
        for name in re.findall(r"\{(\w+)\}", rule.template):
            if not (name in self._names and self._shapes[self._names[name]].pattern):
                yield f"template: there is no shape {name} with a pattern"


def _of_steps(rule: Any) -> Iterator[str]:
    if rule.multiple_of < 1:
        yield "multiple_of is not positive"
    elif (
        _has(rule, "gte") and _has(rule, "lte") and rule.lte // rule.multiple_of * rule.multiple_of < rule.gte
    ):
        yield "no multiple lies within the bounds"


def _messages(parent: str, messages: Any) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    for message in messages:
        name = f"{parent}.{message.name}"
        yield name, message
        yield from _messages(name, message.nested_type)


def _has(rule: Any, part: str) -> bool:
    return any(one.name == part for one, _ in rule.ListFields())


def _kinds(rule: Any) -> list[str]:
    return [kind for kind, parts in _KINDS.items() if any(_has(rule, part) for part in parts)]


def main(built: Path) -> int:
    """Checks the contract that was built into a folder; 0 if all is well."""
    sys.path.insert(0, str(built))
    from google.api import field_behavior_pb2
    from marquee.rules.v1 import rules_pb2

    data = (built / "marquee" / "descriptors.binpb").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(data)
    faults = list(Contract(files, rules_pb2, field_behavior_pb2.field_behavior).faults())
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
