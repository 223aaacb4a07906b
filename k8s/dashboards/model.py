"""What a dashboard is made of, whoever draws it; and the forms of queries that all of them share."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

WINDOW: Final = "[$__rate_interval]"
"""Over how long rates are taken: whoever draws puts a time here that fits the range that is looked at."""


class Unit(StrEnum):
    """What a value is."""

    COUNT = "count"
    PER_SECOND = "per second"
    SHARE = "share"
    """From 0 to 1; drawn in percent."""
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    BYTES = "bytes"


class Kind(StrEnum):
    """How values are drawn."""

    LINES = "lines"
    STACKED = "stacked"
    STAT = "stat"
    """The newest value as a large number, with its course behind it."""
    TABLE = "table"
    """The newest values with their labels."""


@dataclass(frozen=True)
class Query:
    """One question to Prometheus."""

    expression: str
    legend: str = ""
    """The name of a line, with its labels as `{{label}}`."""


@dataclass(frozen=True)
class Panel:
    """One drawing."""

    title: str
    help: str
    """What it shows and what to do when it moves, as sentences."""
    queries: tuple[Query, ...]
    unit: Unit = Unit.COUNT
    kind: Kind = Kind.LINES
    steps: tuple[tuple[float, str], ...] = ()
    """From which value on it is `warning` or `bad`."""
    columns: Mapping[str, str] | None = None
    """Of a table: the labels to show, with their headings."""
    quiet: bool = False
    """Whether it is empty while all is well."""


@dataclass(frozen=True)
class Row:
    """Panels side by side, under a heading."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 8
    """In units of a grid whose width is 24."""


@dataclass(frozen=True)
class Dashboard:
    """One page."""

    name: str
    """Of its file and its address."""
    title: str
    purpose: str
    rows: tuple[Row, ...]

    def panels(self) -> dict[str, Panel]:
        """All panels by their places."""
        return {
            f"r{row}p{column}": panel
            for row, each in enumerate(self.rows, 1)
            for column, panel in enumerate(each.panels, 1)
        }


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """A counter's rate, summed up by labels (all in one if none are given)."""
    grouped = f" by ({by}) " if by else ""
    return f"sum{grouped}(rate({metric}{_braces(labels)}{WINDOW}))"


def moving(metric: str, by: str, labels: str = "") -> str:
    """The same, of what moves at all: lines that lie on 0 hide the others."""
    return f"{rate(metric, by, labels)} > 0"


def quantile(share: float, histogram: str, by: str = "", labels: str = "") -> str:
    """A quantile of a histogram; no value, not NaN, where nothing was measured."""
    buckets = rate(f"{histogram}_bucket", f"le, {by}" if by else "le", labels)
    return f"histogram_quantile({share}, {buckets}) >= 0"


def quantiles(histogram: str, labels: str = "") -> tuple[Query, ...]:
    """Half of all are below the first line, all but one in a hundred below the last."""
    return tuple(
        Query(quantile(share, histogram, labels=labels), name)
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


def share(part: str, whole: str) -> str:
    """What part that is of the whole: 0 where the part was never counted, none where the whole is 0."""
    return f"({part} or vector(0)) / ({whole} > 0)"


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
