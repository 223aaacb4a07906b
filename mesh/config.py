"""Configuration from the environment: typed, frozen, read once (12-factor).

Each concern is a frozen dataclass whose fields are made with `setting`; `load`
reads one of them and refuses a bad value with a sentence that names the
variable, the value, and what would do.
"""

import dataclasses
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")

_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"0", "false", "no", "off"}


class ConfigError(ValueError):
    """A variable is missing or holds a value that can't be used."""


@dataclass(frozen=True)
class Setting:
    """How one field is read: kept in the field's metadata under "setting"."""

    env: str
    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    secret: bool


def setting(
    env: str,
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    """Makes a dataclass field that `load` reads from the variable `env`.

    `help` says what it is, with its unit. Numbers must lie in `low`..`high`,
    texts in `choices`, where given. The value of a `secret` is never shown.
    """
    meta = Setting(env, help, low, high, tuple(choices), secret)
    return dataclasses.field(default=default, metadata={"setting": meta})


def load(cls: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Reads a configuration dataclass.

    Raises:
        ConfigError: a variable is missing, malformed or out of range.
    """
    source = os.environ if environ is None else environ
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        meta: Setting | None = field.metadata.get("setting")
        if meta is None:
            continue
        text = source.get(meta.env, "").strip()
        if text:
            values[field.name] = _parse(meta, hints[field.name], text)
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{meta.env} is not set: it must hold {meta.help or field.name}")
    return cls(**values)


def settings_of(cls: type) -> list[tuple[Setting, Any]]:
    """Lists a dataclass's settings with their defaults (MISSING if required)."""
    return [
        (field.metadata["setting"], field.default)
        for field in dataclasses.fields(cls)
        if "setting" in field.metadata
    ]


def _parse(meta: Setting, hint: Any, text: str) -> Any:
    shown = "its value" if meta.secret else repr(text)
    try:
        value = _convert(hint, text)
    except ValueError as error:
        raise ConfigError(f"{meta.env} can't be {shown}: {error} ({meta.help})") from None
    if meta.choices and value not in meta.choices:
        raise ConfigError(f"{meta.env} can't be {shown}: it is one of {', '.join(meta.choices)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if meta.low is not None and value < meta.low:
            raise ConfigError(f"{meta.env} can't be {shown}: it must be at least {meta.low} ({meta.help})")
        if meta.high is not None and value > meta.high:
            raise ConfigError(f"{meta.env} can't be {shown}: it must be at most {meta.high} ({meta.help})")
    return value


def _convert(hint: Any, text: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        origin = typing.get_origin(hint)
    if origin is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if hint is bool:
        lowered = text.lower()
        if lowered not in _TRUE | _FALSE:
            raise ValueError("it is true or false")
        return lowered in _TRUE
    if hint is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError("it must be a whole number") from None
    if hint is float:
        try:
            return float(text)
        except ValueError:
            raise ValueError("it must be a number") from None
    return text
