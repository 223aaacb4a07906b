"""RPC handlers: scores and charts."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from marquee.rankings.v1 import rankings_pb2 as pb

from mesh import clock, identity, names, rules, texts
from mesh.pages import PageTokens
from mesh.rpc import Context
from mesh.switches import STREAMS, TRENDING
from ranking_svc import experiment, listing, trending, wire
from ranking_svc.cache import Answer, Answers, Headers
from ranking_svc.chart import Chart, ChartEntry, Filter, Order, Weighing
from ranking_svc.config import ChartConfig
from ranking_svc.formula import Formula, Key, key
from ranking_svc.listing import Query
from ranking_svc.rebuild import Rebuilder
from ranking_svc.reconcile import Reconciler
from ranking_svc.watch import Watchers

ADMIN_SCOPE: Final = "marquee.admin"

_WINDOWS: Final = {
    pb.TRENDING_WINDOW_UNSPECIFIED: 1,
    pb.TRENDING_WINDOW_DAY: 0,
    pb.TRENDING_WINDOW_WEEK: 1,
    pb.TRENDING_WINDOW_MONTH: 2,
}


@dataclass(frozen=True)
class _List:
    """How one chart differs from the others."""

    name: str
    order: Callable[[Chart], Order]
    # What the last line of a page is found again by, and the key that this has in the chart of the moment.
    position: Callable[[ChartEntry], float]
    key: Callable[[Formula, float, int, int], Key]
    # What this chart adds to a line.
    besides: Callable[[ChartEntry], bytes] = lambda _entry: b""
    least: Callable[[], float] = lambda: -math.inf
    has_formula: bool = False


def _same_value(_formula: Formula, value: float, votes: int, movie: int) -> Key:
    return key(value, votes, movie)


def _box_office(entry: ChartEntry) -> int:
    usd = entry.facts.box_office_usd if entry.facts else None
    assert usd is not None
    return usd


def _trending(window: int) -> _List:
    half_life = trending.HALF_LIVES_S[window]

    def log_heat(entry: ChartEntry) -> float:
        assert entry.tally is not None
        return entry.tally.heat[window]

    return _List(
        f"trending/{window}",
        lambda chart: chart.orders.trending[window],
        log_heat,
        _same_value,
        lambda entry: wire.heat(trending.heat(log_heat(entry), half_life, clock.now())),
        least=lambda: trending.log_heat_of(trending.LEAST_HEAT, half_life, clock.now()),
    )


# C moves with a rebuild, and every weighted score with it: the last movie of a page is weighed again.
_TOP_RATED: Final = _List(
    "top-rated",
    lambda chart: chart.orders.top_rated,
    lambda entry: entry.tally.total if entry.tally else 0,
    lambda formula, total, votes, movie: key(formula.weighted(int(total), votes), votes, movie),
    has_formula=True,
)
_MOST_VOTED: Final = _List(
    "most-voted", lambda chart: chart.orders.most_voted, lambda entry: entry.votes, _same_value
)
_BOX_OFFICE: Final = _List(
    "box-office",
    lambda chart: chart.orders.box_office,
    _box_office,
    _same_value,
    lambda entry: wire.box_office(_box_office(entry)),
)
_TRENDING: Final = tuple(_trending(window) for window in range(len(trending.HALF_LIVES_S)))


class Charts(Protocol):
    """Where the charts of the moment are; raises UNAVAILABLE before there are any."""

    @property
    def chart(self) -> Chart: ...


class RankingService:
    """marquee.rankings.v1.RankingService, from the charts in memory."""

    def __init__(
        self, charts: Charts, answers: Answers, tokens: PageTokens, watchers: Watchers, config: ChartConfig
    ) -> None:
        self._charts = charts
        self._answers = answers
        self._tokens = tokens
        self._watchers = watchers
        self._config = config

    async def GetScore(self, request: pb.GetScoreRequest, context: Context) -> bytes:
        movie = names.score_number(request.name)
        arm = experiment.arm()
        weighing = self._charts.chart.weighing(arm)
        made = self._answers.make(self._score(movie, weighing))
        return _send(made, context, experiment.exposed(arm, weighing))

    async def WatchScore(self, request: pb.WatchScoreRequest, _context: Context) -> AsyncIterator[bytes]:
        movie = names.score_number(request.name)
        now = asyncio.get_running_loop().time
        end = now() + self._config.watch_limit_s
        sent = b""
        with self._watchers.watch(movie) as watch:
            while not self._watchers.closed and now() < end:
                _check_streams()
                watch.changed.clear()
                made = self._score(movie, self._charts.chart.weighing())
                if made != sent:
                    yield made
                    sent = made
                    await asyncio.sleep(self._config.watch_gap_s)
                try:
                    async with asyncio.timeout_at(end):
                        await watch.changed.wait()
                except TimeoutError:
                    return

    async def ListTopRated(self, request: pb.ListTopRatedRequest, context: Context) -> bytes:
        return await self._list(_TOP_RATED, request, context, request.min_votes)

    async def ListMostVoted(self, request: pb.ListMostVotedRequest, context: Context) -> bytes:
        return await self._list(_MOST_VOTED, request, context)

    async def ListBoxOffice(self, request: pb.ListBoxOfficeRequest, context: Context) -> bytes:
        return await self._list(_BOX_OFFICE, request, context)

    async def ListTrending(self, request: pb.ListTrendingRequest, context: Context) -> bytes:
        if not TRENDING.on:
            raise TRENDING.refusal("the trending chart")
        return await self._list(_TRENDING[_WINDOWS[request.window]], request, context)

    def _score(self, movie: int, weighing: Weighing) -> bytes:
        entry = self._charts.chart.get(movie)
        rank = weighing.order.rank(entry) if entry else None
        return wire.score(movie, entry, rank, weighing)

    async def _list(self, of: _List, request: Any, context: Context, min_votes: int = 0) -> bytes:
        filters = tuple(_filters(request))
        size = rules.page_size(request)
        chart = self._charts.chart
        query = Query(filters, min_votes)
        arm = experiment.arm() if of.has_formula else ""
        weighing = chart.weighing(arm)
        asked = (of.name, weighing.variant, query, size, request.page_token)
        answer = self._answers.get(
            chart, asked, lambda: self._page(of, chart, weighing, query, size, request.page_token)
        )
        return _send(answer, context, experiment.exposed(arm, weighing) if of.has_formula else ())

    def _page(
        self, of: _List, chart: Chart, weighing: Weighing, query: Query, size: int, token: str
    ) -> bytes:
        binding = (of.name, query.filters, query.min_votes)
        cursor, rank = None, 0
        if (found := self._tokens.decode(token, *binding)) is not None:
            *position, rank = found
            cursor = of.key(weighing.formula, *position)
        order = weighing.order if of.has_formula else of.order(chart)
        entries, more = listing.page(chart, order, query, cursor, size, of.least())
        lines = [
            wire.line(entry, number, weighing) + of.besides(entry)
            for number, entry in enumerate(entries, rank + 1)
        ]
        next_token = ""
        if more:
            last = entries[-1]
            position = [of.position(last), last.votes, last.movie]
            next_token = self._tokens.encode([*position, rank + len(entries)], *binding)
        return wire.page(lines, next_token, weighing.formula if of.has_formula else None)


class RankingAdminService:
    """marquee.rankings.v1.RankingAdminService: for operators."""

    def __init__(self, rebuilder: Rebuilder, reconciler: Reconciler) -> None:
        self._rebuilder = rebuilder
        self._reconciler = reconciler

    async def RebuildCharts(
        self, _request: pb.RebuildChartsRequest, _context: Context
    ) -> pb.RebuildChartsResponse:
        identity.require(ADMIN_SCOPE)
        chart, seconds = await self._rebuilder.rebuild()
        return pb.RebuildChartsResponse(
            movies=len(chart.orders.top_rated),
            elapsed_ms=round(seconds * 1000),
            formula=wire.formula_message(chart.formula),
        )

    async def Reconcile(self, request: pb.ReconcileRequest, _context: Context) -> pb.ReconcileResponse:
        identity.require(ADMIN_SCOPE)
        found = await self._reconciler.run(request.repair)
        return pb.ReconcileResponse(
            compared=found.compared,
            mismatches=[
                pb.Mismatch(movie=names.movie_name(m.movie), aggregate=m.aggregate, recount=m.recount)
                for m in found.mismatches
            ],
            differing=found.differing,
            repaired=found.repaired,
        )


def _check_streams() -> None:
    if not STREAMS.on:
        raise STREAMS.refusal("watching scores")


def _send(answer: Answer, context: Context, more: Headers = ()) -> bytes:
    # The edge makes headers of them. Sent as headers, they would be a message of their own.
    context.set_trailing_metadata((*answer.headers, *more))
    return answer.body


def _filters(request: Any) -> list[Filter]:
    """What a list request restricts to.

    A genre that nobody has is no error: it is answered with an empty page.
    """
    filters: list[Filter] = []
    if genre := texts.folded(request.genre):
        filters.append(("genre", genre))
    if request.HasField("decade"):
        filters.append(("decade", request.decade))
    if request.type:
        filters.append(("type", request.type))
    return filters
