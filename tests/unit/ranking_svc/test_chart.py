"""Charts in memory: however they came about, they are what sorting everything comes to."""

import random
from dataclasses import replace

import pytest
from hypothesis import given

from ranking_svc.chart import Chart
from ranking_svc.formula import Formula
from ranking_svc.model import Facts, Tally
from tests.unit.ranking_svc.examples import FORMULA, chart_of, facts, news, scored, tally


def listed(chart: Chart) -> dict[str, list[int]]:
    return {name: list(order.after(None)) for name, order in chart.orders.named()}


def plain(known: list[Tally | Facts]) -> dict[str, list[int]]:
    """All charts of the newest news of each movie, by sorting."""
    newest: dict[type, dict[int, Tally | Facts]] = {Tally: {}, Facts: {}}
    for one in known:
        seen = newest[type(one)].get(one.movie)
        if seen is None or seen.changed < one.changed:
            newest[type(one)][one.movie] = one
    rated = {m: t for m, t in newest[Tally].items() if isinstance(t, Tally) and t.votes > 0}
    votes = {m: t.votes for m, t in rated.items()}
    taken = {m: f.box_office_usd for m, f in newest[Facts].items() if isinstance(f, Facts)}
    values: dict[str, dict[int, float]] = {
        "top_rated": {m: FORMULA.weighted(t.total, t.votes) for m, t in rated.items()},
        "most_voted": {m: t.votes for m, t in rated.items()},
        "box_office": {m: usd for m, usd in taken.items() if usd is not None},
        **{
            f"trending_{window}": {m: t.heat[number] for m, t in rated.items()}
            for number, window in enumerate(("day", "week", "month"))
        },
    }
    return {
        name: sorted(of, key=lambda m, of=of: (-of[m], -votes.get(m, 0), m))  # type: ignore[misc]
        for name, of in values.items()
    }


@given(news)
def test_changes_one_by_one_give_what_sorting_gives(known: list[Tally | Facts]) -> None:
    # Facts that come before any vote are fetched again with the first one: see Feed.
    ordered = sorted(known, key=lambda one: (isinstance(one, Facts), one.changed))
    assert listed(chart_of(ordered)) == plain(ordered)


@given(news)
def test_ranks_are_places_in_the_chart(known: list[Tally | Facts]) -> None:
    chart = chart_of(known)
    for order in chart.orders:
        for place, entry in enumerate(chart.entries(order.after(None)), 1):
            assert order.rank(entry) == place


@given(news)
async def test_loading_gives_what_changes_one_by_one_give(known: list[Tally | Facts]) -> None:
    newest = chart_of(known)
    loaded = Chart(FORMULA)
    entries = list(newest.entries({m for m in range(1, 13) if newest.get(m)}))
    for entry in entries:
        if entry.tally:
            loaded.stage_tally(entry.tally)
    for entry in entries:
        if entry.facts:
            loaded.stage_facts(entry.facts)
    await loaded.finish()
    assert listed(loaded) == listed(newest)
    assert loaded.votes == newest.votes


async def test_loading_more_than_one_run_sorts_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking_svc.chart.STEP", 20)
    chart = Chart(FORMULA)
    numbers = list(range(1, 252))
    random.Random(7).shuffle(numbers)
    for number in numbers:
        chart.stage_tally(tally(number, [0, 0, 0, 0, 0, number % 97, number % 13, 1, 0, 0]))
    await chart.finish()
    keys = [chart.orders.top_rated.key(entry) for entry in chart.entries(chart.orders.top_rated.after(None))]
    assert len(keys) == 251
    assert keys == sorted(keys)  # type: ignore[type-var]


@given(news)
async def test_another_formula_sorts_as_if_it_had_always_been(known: list[Tally | Facts]) -> None:
    other = Formula(2, 3.5, 8.25)
    chart, expected = chart_of(known), chart_of(known, other)
    await chart.reweigh(other)
    assert chart.formula == other
    assert listed(chart) == listed(expected)


@given(news)
def test_what_is_dropped_leaves_nothing_behind(known: list[Tally | Facts]) -> None:
    chart = chart_of(known)
    for movie in chart.numbers():
        chart.drop_tally(movie)
        if chart.get(movie) is not None:
            chart.drop_facts(movie)
    assert (len(chart), chart.votes) == (0, 0)
    assert listed(chart) == {name: [] for name, _ in chart.orders.named()}
    assert not any(chart.members(("type", number)) for number in (0, 1, 2))


def test_what_is_dropped_of_a_movie_leaves_what_else_is_known_of_it() -> None:
    chart = chart_of(
        [scored(1, 8), facts(1, box_office_usd=7), scored(2, 8), facts(2), scored(3, 8), facts(3)]
    )
    chart.drop_tally(1)
    chart.drop_tally(2)
    chart.drop_facts(3)
    assert (listed(chart)["box_office"], listed(chart)["top_rated"]) == ([1], [3])
    assert chart.members(("genre", "drama")) == {1}
    assert chart.numbers() == [1, 3], "facts alone are of no use to any chart"


def test_what_another_life_of_the_database_says_is_taken_though_it_is_older() -> None:
    chart = chart_of([scored(1, 10, 10, changed=5), facts(1, changed=5, title="New")])
    assert chart.put_tally(replace(scored(1, 10, changed=4), life=1))
    assert chart.put_facts(facts(1, changed=4, title="Old", life=1))
    assert not chart.put_tally(replace(scored(1, 10, changed=4), life=1))
    # A copy that has not heard of it yet.
    assert not chart.put_tally(scored(1, 10, 10, 9, changed=6))
    entry = chart.get(1)
    assert entry is not None
    assert entry.votes == 1


def test_of_two_copies_the_later_version_is_newer_whichever_transaction_made_it() -> None:
    later = replace(scored(1, 10, 10, changed=4), version=2)
    chart = chart_of([replace(scored(1, 10, changed=5), version=1), later])
    entry = chart.get(1)
    assert entry is not None
    assert entry.tally == later
    assert not chart.put_tally(replace(scored(1, 10, changed=5), version=1))


def test_older_news_changes_nothing() -> None:
    chart = chart_of([scored(1, 10, 10, changed=5), facts(1, changed=5, title="New")])
    version = chart.version
    assert not chart.put_tally(scored(1, 1, changed=4))
    assert not chart.put_tally(scored(1, 10, 10, changed=5))
    assert not chart.put_facts(facts(1, changed=4, title="Old"))
    assert chart.version == version


def test_a_movie_whose_votes_were_all_taken_back_is_in_no_chart_of_votes() -> None:
    chart = chart_of([scored(1, 10, changed=1), scored(1, changed=2)])
    assert chart.votes == 0
    assert all(len(order) == 0 for order in chart.orders)


def test_counts_that_came_in_the_wrong_order_are_not_listed_until_they_add_up() -> None:
    chart = chart_of([tally(1, [0, 0, 0, 0, 0, 0, 0, -1, 0, 0], changed=1)])
    assert len(chart.orders.top_rated) == 0
    chart.put_tally(scored(1, 9, changed=2))
    assert len(chart.orders.top_rated) == 1


def test_new_facts_move_a_movie_between_genres() -> None:
    chart = chart_of([scored(1, 8), facts(1, changed=1), facts(1, changed=2, genres=("Comedy",))])
    assert chart.members(("genre", "drama")) == set()
    assert chart.members(("genre", "comedy")) == {1}


def test_the_votes_of_a_chart_are_those_of_all_its_movies() -> None:
    assert chart_of([scored(1, 8, 8), scored(2, 9), scored(1, 8, 8, 8, changed=2)]).votes == 4


async def test_with_each_change_a_chart_has_a_newer_version() -> None:
    chart = Chart(FORMULA)
    versions = [chart.version]
    for number in (1, 2, 3):
        chart.put_tally(scored(number, 8))
        versions.append(chart.version)
    for change in (lambda: chart.put_facts(facts(1)), lambda: chart.drop_facts(1)):
        change()
        versions.append(chart.version)
    await chart.reweigh(Formula(2, 3.5, 8.25))
    versions.append(chart.version)
    assert versions == sorted(set(versions))


async def test_answers_that_were_made_under_another_formula_are_not_sent_again() -> None:
    chart = chart_of([scored(1, 8)])
    (entry,) = chart.entries([1])
    entry.line = entry.score = b"made before"
    await chart.reweigh(Formula(2, 3.5, 8.25))
    assert (entry.line, entry.score) == (None, None)


def test_a_row_that_somebody_changed_by_hand_is_taken_as_it_is_now() -> None:
    chart = chart_of([scored(1, 10, changed=5), facts(1, changed=5)])
    assert chart.put_tally(scored(1, 3, changed=5))
    assert chart.put_facts(facts(1, changed=5, title="By hand"))


def test_facts_of_a_movie_that_nobody_rated_are_of_no_use() -> None:
    chart = Chart(FORMULA)
    assert not chart.put_facts(facts(1))
    assert chart.put_facts(facts(2, box_office_usd=7))
    assert chart.numbers() == [2]


def test_only_the_formula_in_force_has_no_name_and_only_its_orders_have() -> None:
    chart = chart_of([scored(1, 8)], variants={"low": 1.0})
    names = [chart.weighing(given).variant for given in ("", "low", "never heard of")]
    assert names == ["", "low", ""]
    assert len(dict(chart.orders.named())) == 6


def test_a_movie_without_votes_is_not_trending_however_hot_it_was() -> None:
    cooled = replace(scored(1, 8, 8), votes=0, total=0, histogram=(0,) * 10)
    chart = chart_of([cooled, facts(2, box_office_usd=7)])
    assert [len(order) for order in chart.orders.trending] == [0, 0, 0]
