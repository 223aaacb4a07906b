"""What the contract's rules say of a request's field, as keywords of JSON Schema and as a sentence.

The services check by the same rules (`mesh.rules`). tests/integration/edge/test_fuzz.py makes calls from
the description, so that most of them would be refused if it said something else.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2
from marquee.rules.v1 import rules_pb2
from marquee.rules.v1.rules_pb2 import Rule

from mesh import rules

# The API's description names the caller's own resources alone.
_CALLER: Final = "me"
_COUNTS: Final = {
    "min_len": "minLength",
    "max_len": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
}
_SPANS: Final = (
    ("gte", "lte", ""),
    ("min_len", "max_len", " characters"),
    ("min_items", "max_items", " items"),
)


def of(field: descriptor_pb2.FieldDescriptorProto, required: bool) -> dict[str, Any]:
    """The keywords for a field, besides those of its type.

    Args:
        field: with its options.
        required: whether it must be given: of another, 0 and an empty text are the same as not given.
    """
    rule = rules.of(field.options)
    said = _said(rule)
    found = {keyword: said[part] for part, keyword in _COUNTS.items() if part in said}
    one = _of_value(rule, said, required or field.proto3_optional)
    if field.label != field.LABEL_REPEATED:
        return found | one
    return found | ({"items": {"type": "string", **one}} if one else {})


def described(comment: str, field: descriptor_pb2.FieldDescriptorProto) -> str:
    """A field's comment, and what the field takes, such as "Takes 1870 to 2100."."""
    rule = rules.of(field.options)
    said = _said(rule)
    parts = [
        rules.span(said.get(low), said.get(high)) + unit
        for low, high, unit in _SPANS
        if low in said or high in said
    ]
    if rule.multiple_of:
        parts.append(f"multiples of {rule.multiple_of}")
    if "page" in said:
        parts.append(f"1 to {rule.page.most}; {rule.page.size} if not given")
    takes = f"Takes {', '.join(parts)}." if parts else ""
    return " ".join(part for part in (comment, takes) if part)


def path_parameters(path: str) -> Iterator[dict[str, Any]]:
    """The parameters of a path such as `/v1/users/{user}/ratings/{movie}`."""
    for name in re.findall(r"\{([a-z]+)\}", path):
        said, example, taken = _PATH_PARAMETERS[name]
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": said,
            "schema": {"type": "string", **taken},
            "example": example,
        }


_PATH_PARAMETERS: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "movie": (
        "The movie's IMDb id.",
        "tt0111161",
        {"pattern": f"^{rules.shape(rules_pb2.SHAPE_IMDB_ID).pattern}$"},
    ),
    "user": ("`me`: the token's subject.", _CALLER, {"enum": [_CALLER]}),
}


def _said(rule: Rule) -> dict[str, Any]:
    """The parts that a rule has, by their names."""
    return {part.name: value for part, value in rule.ListFields()}


def _of_value(rule: Rule, said: Mapping[str, Any], always: bool) -> dict[str, Any]:
    """`always`: whether the rule holds for 0 and for an empty text too."""
    found: dict[str, Any] = {}
    if "gte" in said:
        found["minimum"] = rule.gte if always else min(rule.gte, 0)
    if "lte" in said:
        found["maximum"] = rule.lte if always else max(rule.lte, 0)
    if rule.multiple_of:
        found["multipleOf"] = rule.multiple_of
    if "page" in said:
        found |= {"minimum": 0, "default": rule.page.size}
    if rule.format:
        found["format"] = rule.format
    elif whole := rules.pattern(rule, _variable):
        found["pattern"] = f"^({whole})$" if always else f"^({whole})?$"
    return found


def _variable(name: str, pattern: str) -> str:
    return _CALLER if name == "user_id" else pattern
