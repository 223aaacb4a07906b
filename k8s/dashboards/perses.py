"""Dashboards as Perses takes them: its server, its operator, and the page of one machine."""

import itertools
from collections.abc import Mapping
from typing import Any, Final

from k8s.dashboards.model import Dashboard, Kind, Panel, Query, Row, Unit

PROJECT: Final = "marquee"
_UNITS: Final = {
    Unit.COUNT: {"unit": "decimal", "shortValues": True},
    Unit.PER_SECOND: {"unit": "ops/sec", "shortValues": True},
    Unit.SHARE: {"unit": "percent-decimal", "decimalPlaces": 1},
    Unit.SECONDS: {"unit": "seconds"},
    Unit.MILLISECONDS: {"unit": "milliseconds"},
    Unit.BYTES: {"unit": "bytes", "shortValues": True},
}
_COLORS: Final = {"warning": "#e6a700", "bad": "#d33f49"}
_WELL: Final = "#2e9e5b"
_WIDTH: Final = 24


def render(dashboard: Dashboard) -> dict[str, Any]:
    """The whole resource."""
    keys = {id(panel): key for key, panel in dashboard.panels().items()}
    return {
        "kind": "Dashboard",
        "metadata": {"name": dashboard.name, "project": PROJECT},
        "spec": {
            "display": {"name": dashboard.title, "description": dashboard.purpose},
            "duration": "15m",
            "refreshInterval": "10s",
            "variables": [],
            "panels": {key: _panel(panel) for key, panel in dashboard.panels().items()},
            "layouts": [_row(row, [keys[id(panel)] for panel in row.panels]) for row in dashboard.rows],
        },
    }


def places(count: int) -> list[tuple[int, int]]:
    """Where each of so many panels of a row begins, and how wide it is."""
    edges = [round(_WIDTH * i / count) for i in range(count + 1)]
    return [(begin, end - begin) for begin, end in itertools.pairwise(edges)]


def _row(row: Row, keys: list[str]) -> dict[str, Any]:
    return {
        "kind": "Grid",
        "spec": {
            "display": {"title": row.title, "collapse": {"open": True}},
            "items": [
                {
                    "x": x,
                    "y": 0,
                    "width": width,
                    "height": row.height,
                    "content": {"$ref": f"#/spec/panels/{key}"},
                }
                for key, (x, width) in zip(keys, places(len(keys)), strict=True)
            ],
        },
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "kind": "Panel",
        "spec": {
            "display": {"name": panel.title, "description": panel.help},
            "plugin": _PLUGINS[panel.kind](panel),
            "queries": [_query(query) for query in panel.queries],
        },
    }


def _query(query: Query) -> dict[str, Any]:
    return {
        "kind": "TimeSeriesQuery",
        "spec": {
            "plugin": {
                "kind": "PrometheusTimeSeriesQuery",
                "spec": {"query": query.expression, "seriesNameFormat": query.legend},
            }
        },
    }


def _lines(panel: Panel) -> dict[str, Any]:
    visual: dict[str, Any] = {"areaOpacity": 0.1, "lineWidth": 1.5, "connectNulls": False}
    if panel.kind is Kind.STACKED:
        visual |= {"stack": "all", "areaOpacity": 0.5}
    spec: dict[str, Any] = {
        "legend": {"position": "bottom", "mode": "list", "size": "small"},
        "yAxis": {"format": _UNITS[panel.unit], "min": 0},
        "visual": visual,
    }
    if panel.steps:
        spec["thresholds"] = _thresholds(panel)
    return {"kind": "TimeSeriesChart", "spec": spec}


def _stat(panel: Panel) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "calculation": "last-number",
        "format": _UNITS[panel.unit],
        "sparkline": {},
        "valueFontSize": 28,
    }
    if panel.steps:
        spec["thresholds"] = _thresholds(panel)
    return {"kind": "StatChart", "spec": spec}


def _table(panel: Panel) -> dict[str, Any]:
    shown: Mapping[str, str] = panel.columns or {}
    columns: list[dict[str, Any]] = [
        {"name": label, "header": heading, "enableSorting": True} for label, heading in shown.items()
    ]
    columns += [{"name": name, "hide": True} for name in ("timestamp", "value") if name not in shown]
    return {"kind": "Table", "spec": {"density": "compact", "columnSettings": columns}}


def _thresholds(panel: Panel) -> dict[str, Any]:
    steps = [{"value": value, "color": _COLORS[name]} for value, name in panel.steps]
    return {"defaultColor": _WELL, "steps": steps}


_PLUGINS: Final = {Kind.LINES: _lines, Kind.STACKED: _lines, Kind.STAT: _stat, Kind.TABLE: _table}
