"""Pages of charts: the right movies, each once, whatever moves meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_svc.chart import Chart, ChartEntry
from ranking_svc.formula import Formula, key
from ranking_svc.listing import Query, page
from ranking_svc.model import Facts, Tally
from tests.unit.ranking_svc.examples import FORMULA, chart_of, histograms, scored, some_facts, tallies, tally

queries = st.builds(
    Query,
    st.tuples(
        st.none() | st.sampled_from([("genre", "drama"), ("genre", "film-noir"), ("genre", "western")]),
        st.none() | st.sampled_from([("decade", 1990), ("decade", 2000)]),
        st.none() | st.sampled_from([("type", 1), ("type", 2)]),
    ).map(lambda all: tuple(one for one in all if one)),
    st.integers(0, 12),
)


def passes(entry: ChartEntry, query: Query) -> bool:
    return entry.votes >= query.min_votes and set(query.filters) <= set(entry.filters())


@given(st.lists(tallies | some_facts, max_size=40), queries, st.integers(1, 5), st.integers(0, 5))
def test_pages_together_are_all_that_pass_in_order(
    known: list[Tally | Facts], query: Query, size: int, of: int
) -> None:
    chart = chart_of(known)
    order = list(chart.orders)[of]
    expected = [entry for entry in chart.entries(order.after(None)) if passes(entry, query)]
    got: list[ChartEntry] = []
    more, cursor = True, None
    while more:
        entries, more = page(chart, order, query, cursor, size)
        assert len(entries) == size or not more
        got += entries
        cursor = order.key(got[-1]) if got else None
    assert got == expected


@given(
    st.lists(tallies, min_size=6, max_size=12, unique_by=lambda t: t.movie),
    st.lists(st.tuples(st.integers(1, 12), histograms), max_size=10),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_movies_that_do_not_move_are_listed_once_while_others_do(
    known: list[Tally], moves: list[tuple[int, list[int]]], size: int, changes_a_page: int
) -> None:
    chart = chart_of(known)
    order = chart.orders.top_rated
    moved = {movie for movie, _ in moves}
    still = [entry.movie for entry in chart.entries(order.after(None)) if entry.movie not in moved]
    seen: list[int] = []
    more, cursor, pending, changed = True, None, list(moves), 100
    while more:
        entries, more = page(chart, order, Query(), cursor, size)
        seen += [entry.movie for entry in entries]
        cursor = order.key(entries[-1]) if entries else None
        for movie, histogram in pending[:changes_a_page]:
            changed += 1
            chart.put_tally(tally(movie, histogram, changed))
        del pending[:changes_a_page]
    assert [movie for movie in seen if movie in set(still)] == still


def test_paging_goes_on_where_it_was_when_the_formula_changes() -> None:
    known = [scored(number, *[7] * number, 9) for number in range(1, 30)]
    before, after = chart_of(known), chart_of(known, Formula(2, 20.0, 7.01))
    first, _ = page(before, before.orders.top_rated, Query(), None, 10)
    last = first[-1].tally
    assert last is not None
    cursor = key(after.formula.weighted(last.total, last.votes), last.votes, last.movie)
    rest, more = page(after, after.orders.top_rated, Query(), cursor, 100)
    assert not more
    assert {entry.movie for entry in first} | {entry.movie for entry in rest} == set(range(1, 30))
    assert len(first) + len(rest) == 29


def test_few_that_pass_among_many_are_found_in_order() -> None:
    chart = Chart(FORMULA)
    for number in range(1, 1001):
        chart.put_tally(tally(number, [0] * 7 + [number % 17 + 1, 0, 0]))
    for number in (900, 17, 500):
        chart.put_facts(Facts(number, "T", 1950, 1, ("Film-Noir",), None, 1))
    query = Query((("genre", "film-noir"),))
    entries, more = page(chart, chart.orders.top_rated, query, None, 2)
    everything = [m for m in chart.orders.top_rated.after(None) if m in {900, 17, 500}]
    assert [entry.movie for entry in entries] == everything[:2]
    assert more
    rest, more = page(chart, chart.orders.top_rated, query, chart.orders.top_rated.key(entries[-1]), 2)
    assert [entry.movie for entry in rest] == everything[2:]
    assert not more


def test_few_with_many_votes_among_many_are_found_in_order() -> None:
    chart = Chart(FORMULA)
    for number in range(1, 501):
        votes = {70: 30, 400: 20, 9: 20}.get(number, number % 19 + 1)
        chart.put_tally(tally(number, [0] * 7 + [votes, 0, 0]))
    assert [chart.orders.most_voted.count(least) for least in (31, 30, 20, 0)] == [0, 1, 3, 500]
    for order in (chart.orders.top_rated, chart.orders.trending[0]):
        entries, more = page(chart, order, Query(min_votes=20), None, 2)
        assert ([entry.movie for entry in entries], more) == ([70, 9], True)
        entries, more = page(chart, order, Query(min_votes=20), order.key(entries[-1]), 2)
        assert ([entry.movie for entry in entries], more) == ([400], False)


def test_those_that_pass_at_the_very_end_of_a_long_order_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking_svc.listing._STEPS", 20)
    chart = Chart(FORMULA)
    for number in range(1, 61):
        # The last ten are the worst, and the only westerns; everything is a drama.
        chart.put_tally(tally(number, [0, 0, 0, 0, 0, 0, 0, 0, 5, 0] if number <= 50 else [9] + [0] * 9))
        genres = ("Drama",) if number <= 50 else ("Drama", "Western")
        chart.put_facts(Facts(number, "T", 1950, 1, genres, None, 1))
    query = Query((("genre", "western"), ("genre", "drama"), ("type", 1)), min_votes=6)
    entries, more = page(chart, chart.orders.top_rated, query, None, 3)
    assert [entry.movie for entry in entries] == [51, 52, 53]
    cursor = chart.orders.top_rated.key(entries[-1])
    rest, more = page(chart, chart.orders.top_rated, query, cursor, 20)
    assert [entry.movie for entry in rest] == list(range(54, 61))
    assert not more


def test_a_list_ends_before_what_is_too_little() -> None:
    chart = chart_of([scored(1, 8, 8, 8), scored(2, 8, 8), scored(3, 8)])
    entries, more = page(chart, chart.orders.most_voted, Query(), None, 2, least=2)
    assert ([entry.movie for entry in entries], more) == ([1, 2], False)


def test_a_page_goes_on_where_looking_one_by_one_found_too_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ranking_svc.listing._STEPS", 20)
    westerns = [2, 7, 9, 11, 20, *range(50, 60)]
    chart = Chart(FORMULA)
    for number in range(1, 101):
        chart.put_tally(tally(number, [0] * 7 + [200 - number, 0, 0]))
        genres = ("Western",) if number in westerns else ("Drama",)
        chart.put_facts(Facts(number, "T", 1950, 1, genres, None, 1))
    assert list(chart.orders.most_voted.after(None)) == list(range(1, 101))
    for size in (5, 8):
        entries, more = page(chart, chart.orders.most_voted, Query((("genre", "western"),)), None, size)
        assert ([entry.movie for entry in entries], more) == (westerns[:size], True)


def test_a_list_without_a_least_number_of_votes_has_movies_without_any() -> None:
    taken = [Facts(number, "T", 1950, 1, (), 1000 - number, 1) for number in range(1, 101)]
    chart = chart_of([scored(50, 8), *taken])
    entries, more = page(chart, chart.orders.box_office, Query(), None, 5)
    assert ([entry.movie for entry in entries], more) == ([1, 2, 3, 4, 5], True)
