"""Traces as the page's table takes them, and what is asked of Jaeger for it."""

from typing import Any

import pytest

from local.dash.traces import query, row, with_names


def span(name: str, process: str, began: int, took: int, above: str = "", **tags: Any) -> dict[str, Any]:
    parents = [{"refType": "CHILD_OF", "traceID": "7", "spanID": above}] if above else []
    return {
        "traceID": "7",
        "spanID": name,
        "operationName": name,
        "processID": process,
        "startTime": began,
        "duration": took,
        "references": [{"refType": "FOLLOWS_FROM", "traceID": "8", "spanID": "call"}, *parents],
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }


def test_a_trace_is_named_by_its_first_span_and_lasts_to_the_end_of_its_last() -> None:
    spans = [
        span("chart", "p2", 1_700_000_500_000, 1000, "call", error=True),
        span("call", "p1", 1_700_000_000_000, 2000, "client's own"),
        span("store", "p1", 1_700_000_001_000, 500, "call", error=False),
    ]
    processes = {"p1": {"serviceName": "edge"}, "p2": {"serviceName": "ranking_svc"}}
    assert row({"traceID": "7", "spans": spans, "processes": processes}) == {
        "traceId": "7",
        "rootServiceName": "edge",
        "rootTraceName": "call",
        "startTimeUnixMs": 1_700_000_000.0,
        "durationMs": 501.0,
        "serviceStats": {"edge": {"spanCount": 2}, "ranking_svc": {"spanCount": 1, "errorCount": 1}},
    }


def test_a_span_that_failed_is_marked_as_perses_looks_for_it() -> None:
    spans = [{"spanId": "a", "status": {"code": 2}}, {"spanId": "b", "status": {}}, {"spanId": "c"}]
    named = with_names({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    assert named["resourceSpans"][0]["scopeSpans"][0]["spans"] == [
        {"spanId": "a", "status": {"code": "STATUS_CODE_ERROR"}},
        {"spanId": "b", "status": {}},
        {"spanId": "c"},
    ]


def test_jaeger_is_asked_for_a_time_in_microseconds() -> None:
    asked = query({"since": "15m", "least": "100ms"}, now=10_000.0)
    assert (asked["start"], asked["end"], asked["minDuration"]) == ("9100000000", "10000000000", "100ms")
    assert query({}, now=10_000.0)["start"] == "6400000000"


@pytest.mark.parametrize("asked", [{"since": "1y"}, {"since": "h"}, {"least": "-1ms"}, {"least": "1"}])
def test_what_can_not_be_asked_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is a time such as"):
        query(asked, now=0.0)
