"""Dashboards: committed as they are made, of metrics that there are, with queries that Prometheus reads."""

import json
import re
from pathlib import Path

import pytest
import yaml

from k8s.dashboards.files import DASHBOARDS, FOLDER, rendered
from k8s.dashboards.model import WINDOW, Dashboard, Kind, Unit, quantile, share
from mesh.services import SERVICES
from tests.support.metrics import asked, defined
from tests.support.promtool import promtool

# Prometheus' own, those of Redis' exporter, those that objectives' rules record, and Jaeger's of spans.
RECORDED = re.compile(
    r"\b(?:ALERTS|up|prometheus_\w+|redis_\w+|slo:\w+:\w+|sloth_slo_info|process_\w+"
    r"|traces_span_metrics_duration_seconds_(?:sum|bucket))\b"
)


def queries(dashboard: Dashboard) -> list[str]:
    return [query.expression for panel in dashboard.panels().values() for query in panel.queries]


def test_what_is_committed_is_what_the_source_makes() -> None:
    made = rendered()
    there = {path for path in FOLDER.rglob("*") if path.is_file()}
    assert set(made) == there, "run `make dashboards`"
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name} is another one: run `make dashboards`"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_each_panel_asks_for_metrics_that_there_are(dashboard: Dashboard) -> None:
    known = defined()
    for expression in queries(dashboard):
        named = asked(expression)
        assert named or RECORDED.search(expression), expression
        mine = {name for name in named if not name.startswith(("envoy_", "process_"))}
        assert mine <= known, f"nobody exports {mine - known}"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_each_panel_says_what_it_shows_and_has_a_name_of_its_own(dashboard: Dashboard) -> None:
    panels = dashboard.panels().values()
    assert len({panel.title for panel in panels}) == len(panels)
    for panel in panels:
        assert panel.help.endswith((".", "`.")), panel.title
        assert (panel.kind is Kind.TABLE) == bool(panel.columns), panel.title


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    expressions = [each.replace(WINDOW, "[1m]") for board in DASHBOARDS for each in queries(board)]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", str(file))


def test_each_service_of_the_table_has_a_page() -> None:
    assert {service.name for service in SERVICES} <= {dashboard.name for dashboard in DASHBOARDS}


def test_grafana_gets_the_same_panels_and_queries() -> None:
    for dashboard in DASHBOARDS:
        grafana = json.loads((FOLDER / "grafana" / f"{dashboard.name}.json").read_text())
        drawn = [panel for panel in grafana["panels"] if panel["type"] != "row"]
        assert [each["expr"] for panel in drawn for each in panel["targets"]] == queries(dashboard)
        assert [panel["title"] for panel in drawn] == [each.title for each in dashboard.panels().values()]
        ids = [panel["id"] for panel in grafana["panels"]]
        assert len(set(ids)) == len(ids)
        below = 0
        for panel in grafana["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            assert place["y"] >= below or place["x"] > 0, "panels lie over one another"
            below = max(below, place["y"])


def test_a_histogram_without_calls_and_a_share_of_nothing_show_nothing_at_all(tmp_path: Path) -> None:
    """NaN would be drawn, and would hide what the panel has to say."""
    idle = {"series": 't_seconds_bucket{le="1"}', "values": "5x20"}
    everything = {"series": 't_seconds_bucket{le="+Inf"}', "values": "5x20"}
    calls = {"series": "calls_total", "values": "7x20"}
    asked_for = [
        quantile(0.99, "t_seconds").replace(WINDOW, "[1m]"),
        share("sum(rate(faults_total[1m]))", "sum(rate(calls_total[1m]))"),
    ]
    test = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [idle, everything, calls],
                "promql_expr_test": [
                    {"expr": each, "eval_time": "4m", "exp_samples": []} for each in asked_for
                ],
            }
        ],
    }
    file = tmp_path / "idle.yaml"
    file.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(file))


def test_a_unit_and_a_kind_that_are_new_are_known_to_both_renderings() -> None:
    from k8s.dashboards import grafana, perses

    assert set(grafana._UNITS) == set(perses._UNITS) == set(Unit)
    assert set(grafana._TYPES) == set(perses._PLUGINS) == set(Kind)
