"""What is on trial at the edge, new releases and experiments: the record that routes are made from.

`trials.json` beside the routes is the only record; whoever changes it holds its lock (`changing`), so that
the command line and the controller never undo each other's work.
"""

import contextlib
import dataclasses
import fcntl
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edge import files

FILE: Final = "trials.json"

Attribute = Literal["subject", "tier"]
Operator = Literal["in", "starts_with", "ends_with", "contains"]
Owner = Literal["operator", "flag", "controller"]


def _new_key() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Condition:
    """Something that is true of a caller or not."""

    attribute: Attribute
    operator: Operator
    values: tuple[str, ...]
    inverted: bool = False
    ignore_case: bool = False


@dataclass(frozen=True)
class Segment:
    """Callers of whom all conditions are true, and what share of them is taken."""

    conditions: tuple[Condition, ...]
    percent: float


@dataclass(frozen=True)
class Audience:
    """Who is taken: a share of everybody, and of some segments a larger one."""

    percent: float = 0.0
    segments: tuple[Segment, ...] = ()
    sticky: bool = True
    """A user who is taken stays so, and is still taken when the share grows."""


@dataclass(frozen=True)
class Canary:
    """A new release of a service on trial."""

    audience: Audience = Audience()
    owner: Owner = "operator"
    """Who decides on the audience: what an operator has set stands until they clear it."""
    delivery: Mapping[str, Any] = field(default_factory=dict)
    """Where progressive delivery stands (`edge.delivery`); empty if none is under way."""
    key: str = field(default_factory=_new_key)
    """Tells its cached answers from all others."""


@dataclass(frozen=True)
class Experiment:
    """Variants of one behaviour, compared."""

    audience: Audience
    """Who takes part."""
    variants: Mapping[str, int]
    """Their weights, by name."""
    overrides: tuple[tuple[tuple[Condition, ...], str], ...] = ()
    """Callers who always get one variant."""
    key: str = field(default_factory=_new_key)
    """Tells its cached answers from all others."""


@dataclass(frozen=True)
class Trials:
    """Everything on trial: canaries by service, experiments by name."""

    canaries: Mapping[str, Canary] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    cache: bool = True
    """Whether the edge keeps answers; a kill switch (`mesh.switches`) says otherwise."""

    def with_canary(self, service: str, canary: Canary | None) -> "Trials":
        """These, with that canary, or without one."""
        others = {name: each for name, each in self.canaries.items() if name != service}
        return dataclasses.replace(self, canaries=others if canary is None else {**others, service: canary})

    def shares(self) -> dict[str, float]:
        """The percentage of everybody's calls that goes to a new release, by service."""
        return {name: canary.audience.percent for name, canary in self.canaries.items()}


def check_percent(percent: float) -> float:
    """Returns the percentage.

    Raises:
        ValueError: it is none.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent:g} is no share of all calls: give 0 to 100 percent")
    return percent


def load(folder: Path) -> Trials:
    """What is on trial now; nothing if nobody has ever put anything there."""
    try:
        given = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return Trials()
    return Trials(
        {name: _canary(each) for name, each in given["canaries"].items()},
        {name: _experiment(each) for name, each in given["experiments"].items()},
        given.get("cache", True),  # older records have none
    )


def save(folder: Path, trials: Trials) -> None:
    """Replaces the record. Only within `changing`."""
    files.replace(folder / FILE, json.dumps(dataclasses.asdict(trials), indent=1) + "\n")


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[Trials]:
    """Holds the record's lock, and yields what is on trial now."""
    with (folder / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield load(folder)


def _canary(given: Any) -> Canary:
    return Canary(_audience(given["audience"]), given["owner"], given["delivery"], given["key"])


def _experiment(given: Any) -> Experiment:
    overrides = tuple((_conditions(conditions), variant) for conditions, variant in given["overrides"])
    return Experiment(_audience(given["audience"]), given["variants"], overrides, given["key"])


def _audience(given: Any) -> Audience:
    segments = tuple(Segment(_conditions(each["conditions"]), each["percent"]) for each in given["segments"])
    return Audience(given["percent"], segments, given["sticky"])


def _conditions(given: Any) -> tuple[Condition, ...]:
    return tuple(Condition(**{**each, "values": tuple(each["values"])}) for each in given)
