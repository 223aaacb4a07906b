"""The experiment on the weighted score: other formulas over the same movies."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh import tracing
from mesh.config import ConfigError
from mesh.pages import PageTokens
from ranking_svc import metrics
from ranking_svc.cache import Answers
from ranking_svc.chart import Chart
from ranking_svc.config import ChartConfig, FormulaConfig
from ranking_svc.formula import Formula
from ranking_svc.model import Facts, Tally
from ranking_svc.service import RankingService
from ranking_svc.watch import Watchers
from tests.support.rpc import served
from tests.unit.ranking_svc.examples import FORMULA, chart_of, news, scored

if TYPE_CHECKING:
    from marquee.rankings.v1.rankings_pb2_grpc import RankingServiceAsyncStub

VARIANTS = {"few-votes": 0.5, "many-votes": 500.0}


def order(chart: Chart, variant: str = "") -> list[int]:
    return list(chart.weighing(variant).order.after(None))


@given(news)
async def test_each_variant_is_sorted_as_a_chart_of_its_own(known: list[Tally | Facts]) -> None:
    chart = chart_of(known, variants=VARIANTS)
    for formula in (FORMULA, Formula(2, 3.5, 8.25)):
        if formula != FORMULA:
            await chart.reweigh(formula)
        assert order(chart) == order(chart_of(known, formula))
        for name, votes in VARIANTS.items():
            other = Formula(formula.generation, votes, formula.prior_mean)
            assert order(chart, name) == order(chart_of(known, other))
            assert chart.weighing(name).formula == other


class Here:
    """A chart in which a movie of one vote leads if few votes weigh."""

    def __init__(self) -> None:
        self.chart = chart_of([scored(1, 10), scored(2, *[9] * 60)], variants=VARIANTS)
        self.watchers = Watchers(10)


@pytest.fixture
async def stub() -> AsyncIterator["RankingServiceAsyncStub"]:
    here = Here()
    rankings = RankingService(here, Answers(10, 1), PageTokens("secret"), here.watchers, ChartConfig())
    service = pb.DESCRIPTOR.services_by_name["RankingService"]
    async with served(service, rankings) as address, grpc.aio.insecure_channel(address) as channel:
        yield rankings_pb2_grpc.RankingServiceStub(channel)


def told(variant: str, experiment: str = "ranking-formula") -> tuple[tuple[str, str], ...]:
    return (("x-marquee-experiment", experiment), ("x-marquee-variant", variant))


@pytest.mark.parametrize(
    ("metadata", "votes", "first", "says"),
    [
        ((), 20, "movies/tt0000002", None),
        (told("control"), 20, "movies/tt0000002", "control"),
        (told("few-votes"), 0.5, "movies/tt0000001", "few-votes"),
        (told("many-votes"), 500, "movies/tt0000002", "many-votes"),
        (told("unheard-of"), 20, "movies/tt0000002", None),
        (told("few-votes", "another"), 20, "movies/tt0000002", None),
    ],
)
async def test_a_caller_gets_the_variant_that_the_edge_says(
    stub: "RankingServiceAsyncStub",
    metadata: tuple[tuple[str, str], ...],
    votes: float,
    first: str,
    says: str | None,
) -> None:
    for _ in range(2):
        call = stub.ListTopRated(pb.ListTopRatedRequest(), metadata=metadata)
        page = await call
        assert page.formula.prior_votes == votes
        assert page.entries[0].movie == first
        assert dict(await call.trailing_metadata()).get("x-marquee-variant") == says
        asked = stub.GetScore(pb.GetScoreRequest(name=f"{first}/score"), metadata=metadata)
        score = await asked
        assert dict(await asked.trailing_metadata()).get("x-marquee-variant") == says
        assert (score.rank, score.formula.prior_votes) == (1, votes)
        assert score.weighted == page.entries[0].weighted


async def test_the_trace_says_which_variant_it_was(
    stub: "RankingServiceAsyncStub", monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    sampled = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await stub.ListTopRated(pb.ListTopRatedRequest(), metadata=(*told("few-votes"), sampled))
    await stub.ListTopRated(pb.ListTopRatedRequest(), metadata=(sampled,))
    one, other = (dict(span.attributes or {}) for span in spans.get_finished_spans())
    assert one["marquee.experiment"] == "ranking-formula"
    assert one["marquee.variant"] == "few-votes"
    assert "marquee.variant" not in other


async def test_operators_see_how_many_answers_were_made_under_which_variant(
    stub: "RankingServiceAsyncStub",
) -> None:
    def counted() -> dict[str, float]:
        return {
            variant: metrics.EXPOSURES.labels("ranking-formula", variant)._value.get()
            for variant in ("control", "few-votes", "many-votes", "unheard-of")
        }

    before = counted()
    for variant in ("control", "few-votes", "few-votes", "unheard-of"):
        await stub.ListTopRated(pb.ListTopRatedRequest(), metadata=told(variant))
    await stub.GetScore(pb.GetScoreRequest(name="movies/tt0000001/score"), metadata=told("few-votes"))
    # Charts without a formula are no part of the experiment.
    await stub.ListMostVoted(pb.ListMostVotedRequest(), metadata=told("few-votes"))
    more = {variant: number - before[variant] for variant, number in counted().items()}
    assert more == {"control": 1, "few-votes": 3, "many-votes": 0, "unheard-of": 0}


def test_variants_are_names_with_votes() -> None:
    assert FormulaConfig(variants="a=5, b=100").prior_votes_by_variant == {"a": 5, "b": 100}
    for bad in ("a", "a=b", "=5", "a=0"):
        with pytest.raises(ConfigError, match="give NAME=VOTES"):
            _ = FormulaConfig(variants=bad).prior_votes_by_variant
