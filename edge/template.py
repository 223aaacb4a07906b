"""YAML templates: plain YAML whose `"${name}"` scalars are replaced by values.

A scalar that is one placeholder takes the value as it is (a number, a list, a mapping); within a longer text
it takes the value's text. In a list, a placeholder for a list is spliced in.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).resolve().parent.parent / "envoy"

ENABLED: Final[Mapping[str, Any]] = {
    "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
    "config": {},
}
"""Of a filter that is disabled where nothing is said, in a route's `typed_per_filter_config`."""

_PLACEHOLDER: Final = re.compile(r"\$\{([a-z_.]+)\}")


def load(name: str, values: Mapping[str, Any] | None = None, part: str | None = None) -> Any:
    """Reads `envoy/NAME.yaml`, or one top-level part of it, and fills it in.

    Raises:
        KeyError: a placeholder has no value.
    """
    parsed = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    if part is not None:
        parsed = parsed[part]
    return parsed if values is None else _filled(parsed, values, name)


def _filled(node: Any, values: Mapping[str, Any], name: str) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values, name) for key, value in node.items()}
    if isinstance(node, list):
        filled: list[Any] = []
        for item in node:
            value = _filled(item, values, name)
            if isinstance(item, str) and _PLACEHOLDER.fullmatch(item) and isinstance(value, list):
                filled.extend(value)
            else:
                filled.append(value)
        return filled
    if isinstance(node, str):
        whole = _PLACEHOLDER.fullmatch(node)
        if whole:
            return _value(whole[1], values, name)
        return _PLACEHOLDER.sub(lambda found: str(_value(found[1], values, name)), node)
    return node


def _value(key: str, values: Mapping[str, Any], name: str) -> Any:
    try:
        return values[key]
    except KeyError:
        raise KeyError(f"envoy/{name}.yaml asks for ${{{key}}}, which nothing provides") from None
