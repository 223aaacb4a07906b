"""What requests take: the rules of `marquee/rules/v1/rules.proto` as plain Python checks.

The contract's options are read once for each type of message: `mesh.rpc` does so when a server
starts. What comes of them is one function a field, and a call runs those. That the rules hang
together is checked when the stubs are built: see protos/rules_check.py.
"""

import functools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from marquee.rules.v1 import rules_pb2
from marquee.rules.v1.rules_pb2 import Rule

from mesh.errors import MarqueeError, invalid

Check = Callable[[Any, str], None]
"""Checks a message, or one field of it; the second argument is the path of that message, such as
`requests[3].`, empty for the request itself. Raises INVALID_ARGUMENT that names the field."""

_PLAIN: Final = "INVALID_ARGUMENT"
_SHOWN: Final = 80
# Unicode's categories Cc, Zl and Zp.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Value:
    """What one value has to be."""

    passes: Callable[[Any], object]
    """Whether it is: a truthy answer if so."""
    says: Callable[[Any], str]
    """The sentence for a value that is not."""
    reason: str

    def refusal(self, field: str, value: Any) -> MarqueeError:
        """The error for a value that is not what it has to be."""
        return invalid(field, self.says(value), self.reason)


def check(message: Message, prefix: str = "") -> None:
    """Checks a message by its rules.

    Args:
        message: such as an item of a batch, whose handler refuses it by itself.
        prefix: its path within the request, such as `requests[3].`.

    Raises:
        MarqueeError: INVALID_ARGUMENT, naming the first field that is wrong.
    """
    checker(message.DESCRIPTOR)(message, prefix)


@functools.cache
def checker(descriptor: Descriptor) -> Check:
    """What `check` does with messages of this type."""
    checks = tuple(one for one in map(_field_check, descriptor.fields) if one is not None)

    def check_all(message: Any, prefix: str = "") -> None:
        for one in checks:
            one(message, prefix)

    return check_all


def page_size(request: Any) -> int:
    """How many entries a page has: what `page_size` asks for, within its rule."""
    page = _page(request.DESCRIPTOR)
    asked: int = request.page_size
    return min(asked, page.most) if asked else page.size


def rule(descriptor: Descriptor, field: str) -> Rule:
    """The rule of a field, with what its shape says."""
    return of(descriptor.fields_by_name[field].GetOptions())


def of(options: Any) -> Rule:
    """The rule in the options of a field (FieldOptions), with what its shape says; empty if there is none."""
    own: Rule = options.Extensions[rules_pb2.rule]
    whole = Rule()
    whole.CopyFrom(shape(own.shape))
    whole.MergeFrom(own)
    return whole


def shape(number: int) -> Rule:
    """The rule of a shape, such as `rules_pb2.SHAPE_YEAR`."""
    found: Rule = rules_pb2.Shape.DESCRIPTOR.values_by_number[number].GetOptions().Extensions[rules_pb2.shape]
    return found


def pattern(of_rule: Rule, variable: Callable[[str, str], str]) -> str:
    """The regular expression of a rule; empty if it has none.

    Args:
        of_rule: with what its shape says.
        variable: makes the expression of a template's variable from its name and its own pattern.
    """

    def expanded(found: re.Match[str]) -> str:
        named = shape(rules_pb2.Shape.Value(f"SHAPE_{found[1].upper()}"))
        return variable(found[1], named.pattern)

    return re.sub(r"\{(\w+)\}", expanded, of_rule.template) if of_rule.template else of_rule.pattern


def expression(of_rule: Rule) -> re.Pattern[str]:
    """The same, compiled: a template's variables are groups of their names."""
    return re.compile(pattern(of_rule, lambda name, own: f"(?P<{name}>{own})"))


def value(of_rule: Rule, field: FieldDescriptor | None = None) -> Value:
    """What a rule says of one value.

    Args:
        of_rule: with what its shape says.
        field: which has the rule; only rules of enums and masks need it.
    """
    if of_rule.pattern or of_rule.template:
        return Value(expression(of_rule).fullmatch, _sentence(of_rule), of_rule.reason or _PLAIN)
    if of_rule.HasField("min_len") or of_rule.HasField("max_len"):
        return _text(of_rule)
    if of_rule.HasField("page"):
        most, size = of_rule.page.most, of_rule.page.size
        says = f"{{value}} is negative; use 1 to {most}, or leave it out for {size}"
        return Value(_not_negative, _sentence(of_rule, says), of_rule.reason or _PLAIN)
    if of_rule.defined_only:
        return _enum(of_rule, field)
    if of_rule.mask_of:
        return _mask(of_rule, field)
    return _number(of_rule)


def span(low: int | None, high: int | None) -> str:
    """Bounds in words: `1870 to 2100`, `0 or more`, `up to 100`."""
    if high is None:
        return f"{low or 0} or more"
    return f"up to {high}" if low is None else f"{low} to {high}"


def _field_check(field: FieldDescriptor) -> Check | None:
    found = of(field.GetOptions())
    nested = field.type == FieldDescriptor.TYPE_MESSAGE and not found.mask_of
    if found.free or (found == Rule() and not nested):
        return None
    required = field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    if field.is_repeated:
        return _list_check(field, found, required)
    if nested:
        # What comes with protobuf itself, such as times, has no rules.
        foreign = field.message_type is not None and field.message_type.file.package == "google.protobuf"
        return None if foreign and not required else _nested_check(field, required)
    return _value_check(field, value(found, field), required)


def _value_check(field: FieldDescriptor, one: Value, required: bool) -> Check:
    name, get, passes = field.name, operator.attrgetter(field.name), one.passes

    def check_given(message: Any, prefix: str) -> None:
        if message.HasField(name):
            if not passes(get(message)):
                raise one.refusal(prefix + name, get(message))
        elif required:
            raise invalid(prefix + name, "it is required")

    def check_plain(message: Any, prefix: str) -> None:
        found = get(message)
        if (found or required) and not passes(found):
            raise one.refusal(prefix + name, found)

    return check_given if field.has_presence else check_plain


def _nested_check(field: FieldDescriptor, required: bool) -> Check:
    name, get = field.name, operator.attrgetter(field.name)

    def check_nested(message: Any, prefix: str) -> None:
        if message.HasField(name):
            check(get(message), f"{prefix}{name}.")
        elif required:
            raise invalid(prefix + name, "it is required")

    return check_nested


def _list_check(field: FieldDescriptor, found: Rule, required: bool) -> Check:
    name, get = field.name, operator.attrgetter(field.name)
    low = found.min_items
    high = found.max_items if found.HasField("max_items") else None
    allowed = span(low or None, high)
    each = _each(field, found)

    def check_list(message: Any, prefix: str) -> None:
        items = get(message)
        count = len(items)
        if (count or required) and (count < low or (high is not None and count > high)):
            raise invalid(prefix + name, f"it has {count} items; {allowed} are allowed")
        if each is not None:
            for index, item in enumerate(items):
                each(item, f"{prefix}{name}[{index}]")

    return check_list


def _each(field: FieldDescriptor, found: Rule) -> Check | None:
    if found.apart:
        return None
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return lambda item, path: check(item, f"{path}.")
    only = Rule()
    only.CopyFrom(found)
    for part in ("min_items", "max_items"):
        only.ClearField(part)
    one = value(only, field)
    passes = one.passes

    def check_item(item: Any, path: str) -> None:
        if not passes(item):
            raise one.refusal(path, item)

    return check_item


def _number(found: Rule) -> Value:
    low = found.gte if found.HasField("gte") else None
    high = found.lte if found.HasField("lte") else None
    least = -(2**63) if low is None else low
    greatest = 2**63 if high is None else high
    step = found.multiple_of or 1

    def passes(number: int) -> bool:
        return least <= number <= greatest and number % step == 0

    if low is not None and high is not None:
        says = f"{{value}} is not within {low}–{high}"
    else:
        says = f"{{value}} is not {span(low, high)}"
    if step > 1:
        says += f", in steps of {step}"
    return Value(passes, _sentence(found, says), found.reason or _PLAIN)


def _not_negative(number: int) -> bool:
    return number >= 0


def _text(found: Rule) -> Value:
    low = found.min_len
    high = found.max_len if found.HasField("max_len") else None
    allowed = span(low or None, high)

    def long(text: str) -> bool:
        return low <= len(text) and (high is None or len(text) <= high)

    def passes(text: str) -> bool:
        stripped = text.strip()
        return long(stripped) and _CONTROL.search(stripped) is None

    def says(text: str) -> str:
        stripped = text.strip()
        if not long(stripped):
            return f"it has {len(stripped)} characters; {allowed} are allowed"
        return "it holds control characters"

    return Value(passes, says, found.reason or _PLAIN)


def _enum(found: Rule, field: FieldDescriptor | None) -> Value:
    assert field is not None
    assert field.enum_type is not None
    known = frozenset(field.enum_type.values_by_number)
    says = f"{{value}} is not the number of a {field.enum_type.name}"
    return Value(known.__contains__, _sentence(found, says), found.reason or _PLAIN)


def _mask(found: Rule, field: FieldDescriptor | None) -> Value:
    assert field is not None
    assert field.containing_type is not None
    descriptor = field.containing_type.file.pool.FindMessageTypeByName(found.mask_of)

    def passes(mask: Any) -> bool:
        return not mask.paths or list(mask.paths) == ["*"] or bool(mask.IsValidForDescriptor(descriptor))

    def says(mask: Any) -> str:
        wrong = next(
            path for path in mask.paths if not type(mask)(paths=[path]).IsValidForDescriptor(descriptor)
        )
        return f"a {descriptor.name} has no field {_shown(wrong)}"

    return Value(passes, says, found.reason or _PLAIN)


def _sentence(found: Rule, usual: str = "") -> Callable[[Any], str]:
    says, bounds = found.says or usual, {"gte": found.gte, "lte": found.lte}
    return lambda value: says.format(value=_shown(value), **bounds)


def _shown(value: Any) -> str:
    """As sentences repeat it: a text in quotes, and cut where it is long."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    return str(value)


@functools.cache
def _page(descriptor: Descriptor) -> rules_pb2.Page:
    return rule(descriptor, "page_size").page
