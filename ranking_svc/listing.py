"""Pages of a chart: which movies, and where the next page starts."""

import functools
import heapq
import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ranking_svc.chart import Chart, ChartEntry, Filter, Order
from ranking_svc.formula import Key, movie_of

# An order is walked, asking each movie whether it passes, while at least one of so many may. With
# fewer, or when that many steps have not been enough, those that pass are gathered and sorted.
_SPARSE: Final = 50
_STEPS: Final = 2_000


@dataclass(frozen=True)
class Query:
    """Which movies of a chart are wanted."""

    filters: tuple[Filter, ...] = ()
    min_votes: int = 0


def page(
    chart: Chart,
    order: Order,
    query: Query,
    cursor: Key | None,
    limit: int,
    least: float = -math.inf,
) -> tuple[list[ChartEntry], bool]:
    """Lists up to `limit` movies behind `cursor`, and says whether there are more.

    The list ends before the first movie whose value is less than `least`.
    """
    found: list[ChartEntry] = []
    for entry in _passing(chart, order, query, cursor, limit + 1):
        value = order.value(entry)
        if value is None or value < least:
            break
        if len(found) == limit:
            return found, True
        found.append(entry)
    return found, False


def _passing(
    chart: Chart, order: Order, query: Query, cursor: Key | None, limit: int
) -> Iterator[ChartEntry]:
    """The movies that pass, in order: at least the first `limit` of them."""
    allowed = [chart.members(one) for one in query.filters]
    enough = chart.orders.most_voted.count(query.min_votes) if query.min_votes > 0 else len(order)
    if enough * _SPARSE <= len(order):
        allowed.append(frozenset(chart.orders.most_voted.first(enough)))
    allowed.sort(key=len)
    steps = _STEPS if allowed else len(order)
    if not allowed or len(allowed[0]) * _SPARSE > len(order):
        for entry in chart.entries(itertools.islice(order.after(cursor), steps)):
            if entry.votes >= query.min_votes and all(entry.movie in one for one in allowed):
                yield entry
                limit -= 1
            cursor = order.key(entry)
        if not allowed or limit <= 0:
            return
    gathered = chart.entries(functools.reduce(operator.and_, allowed))
    keys = (order.key(entry) for entry in gathered if entry.votes >= query.min_votes)
    behind = (one for one in keys if one is not None and (cursor is None or one > cursor))
    yield from chart.entries(map(movie_of, heapq.nsmallest(limit, behind)))
