"""Ready pages: the same while nothing changed, another as soon as anything did."""

from types import SimpleNamespace

import pytest

from ranking_svc import cache
from ranking_svc.cache import Answers
from ranking_svc.chart import Chart
from tests.support.clock import Clock
from tests.unit.ranking_svc.examples import chart_of, scored


class Pages:
    """Answers that count how often a page was made."""

    def __init__(self, limit: int = 3) -> None:
        self.answers = Answers(limit, max_age_s=1)
        self.made: list[str] = []

    def get(self, chart: Chart, request: str) -> bytes:
        def build() -> bytes:
            self.made.append(request)
            return f"{request} of {len(chart.orders.top_rated)}".encode()

        return self.answers.get(chart, request, build).body


@pytest.fixture
def now(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(cache, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_a_page_is_made_once_while_the_chart_stays_as_it_is(now: Clock) -> None:
    pages, chart = Pages(), chart_of([scored(1, 9)])
    assert [pages.get(chart, "a") for _ in range(3)] == [b"a of 1"] * 3
    assert pages.get(chart, "b") == b"b of 1"
    assert pages.made == ["a", "b"]


def test_a_page_is_made_again_when_the_chart_changes(now: Clock) -> None:
    pages, chart = Pages(), chart_of([scored(1, 9)])
    pages.get(chart, "a")
    chart.put_tally(scored(2, 8))
    assert pages.get(chart, "a") == b"a of 2"


def test_charts_of_two_generations_that_changed_equally_often_are_two_charts(now: Clock) -> None:
    pages, chart, other = Pages(), chart_of([scored(1, 9)]), chart_of([scored(1, 9)])
    assert chart.version == other.version
    pages.get(chart, "a")
    pages.get(other, "a")
    assert pages.made == ["a", "a"]


def test_heat_fades_so_a_page_is_made_again_after_a_second(now: Clock) -> None:
    pages, chart = Pages(), chart_of([scored(1, 9)])
    pages.get(chart, "a")
    now.now += 0.9
    pages.get(chart, "a")
    assert pages.made == ["a"]
    now.now += 0.2
    pages.get(chart, "a")
    assert pages.made == ["a", "a"]


def test_of_too_many_pages_the_oldest_is_forgotten(now: Clock) -> None:
    pages, chart = Pages(limit=3), chart_of([scored(1, 9)])
    for request in ("a", "b", "c", "d"):
        pages.get(chart, request)
    for request in ("b", "c", "d"):
        pages.get(chart, request)
    assert pages.made == ["a", "b", "c", "d"]
    pages.get(chart, "a")
    assert pages.made == ["a", "b", "c", "d", "a"]


def test_an_answer_says_how_long_it_may_be_kept_and_which_it_is() -> None:
    answers = Answers(1, max_age_s=7)
    one, same, other = (dict(answers.make(body).headers) for body in (b"x", b"x", b"y"))
    assert one == same
    assert one["cache-control"] == "public, max-age=7"
    assert one["etag"].startswith('W/"')
    assert one["etag"] != other["etag"]
