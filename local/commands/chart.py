"""The chart of the best-rated movies as the edge answers it, and as people like to see it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from local.stack.layout import Stack, StackError

_TIMEOUT_S: Final = 10.0


def read(stack: Stack, query: Mapping[str, str]) -> dict[str, Any]:
    """GET /v1/charts/top-rated; empty values are left out.

    Raises:
        StackError: the edge answered with an error, or not at all.
    """
    given = urllib.parse.urlencode({name: value for name, value in query.items() if value})
    return get(stack, f"/v1/charts/top-rated?{given}")


def get(stack: Stack, path: str) -> dict[str, Any]:
    """A public GET through the edge.

    Raises:
        StackError: the edge answered with an error, or not at all.
    """
    try:
        with urllib.request.urlopen(f"{stack.edge_url}{path}", timeout=_TIMEOUT_S) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise StackError(
            f"the edge answers {path} with {error.code}: {error.read().decode()[:300]}"
        ) from error
    except OSError as error:
        raise StackError(
            f"the edge at {stack.edge_url} does not answer, see `marquee status`: {error}"
        ) from error
    return found


def show(chart: Mapping[str, Any], console: Console) -> None:
    """Prints a chart as a table, with the formula that it comes from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rank", "title", "year", "weighted", "mean", "votes", "movie"):
        table.add_column(column, justify="left" if column in ("title", "movie") else "right")
    for entry in chart.get("entries", ()):
        table.add_row(
            str(entry["rank"]),
            entry.get("title", ""),
            str(entry.get("year", "")),
            f"{entry['weighted']:.3f}",
            f"{entry['mean']:.3f}",
            str(entry["votes"]),
            entry["movie"],
        )
    console.print(table)
    formula = chart.get("formula", {})
    console.print(
        f"[dim]weighted = v/(v+m)·mean + m/(v+m)·C with m = {formula.get('priorVotes', 0):g}, "
        f"C = {formula.get('priorMean', 0):.4f}",
        highlight=False,
    )
