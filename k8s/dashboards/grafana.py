"""Dashboards as Grafana takes them: imported by hand, or from a ConfigMap by its side-car."""

from typing import Any, Final

from k8s.dashboards.model import Dashboard, Kind, Panel, Unit
from k8s.dashboards.perses import places

_UNITS: Final = {
    Unit.COUNT: "short",
    Unit.PER_SECOND: "ops",
    Unit.SHARE: "percentunit",
    Unit.SECONDS: "s",
    Unit.MILLISECONDS: "ms",
    Unit.BYTES: "bytes",
}
_COLORS: Final = {"warning": "yellow", "bad": "red"}
_TYPES: Final = {Kind.LINES: "timeseries", Kind.STACKED: "timeseries", Kind.STAT: "stat", Kind.TABLE: "table"}
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def render(dashboard: Dashboard) -> dict[str, Any]:
    """The whole model, for Grafana 10 or newer."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        panels.append(
            {
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            }
        )
        for panel, (x, width) in zip(row.panels, places(len(row.panels)), strict=True):
            panels.append(_panel(panel) | {"gridPos": {"x": x, "y": y + 1, "w": width, "h": row.height}})
        y += row.height + 1
    for number, made in enumerate(panels, 1):
        made["id"] = number
    return {
        "uid": f"marquee-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.purpose,
        "tags": ["marquee"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "links": [
            {
                "type": "dashboards",
                "title": "Marquee",
                "tags": ["marquee"],
                "asDropdown": True,
                "keepTime": True,
            }
        ],
        "templating": {
            "list": [
                {"type": "datasource", "name": "datasource", "query": "prometheus", "label": "Prometheus"}
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    is_table = panel.kind is Kind.TABLE
    made: dict[str, Any] = {
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
                "instant": is_table,
                "range": not is_table,
                "format": "table" if is_table else "time_series",
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
    }
    if is_table:
        made["transformations"] = [_chosen(panel)]
    elif panel.kind is Kind.STAT:
        made["options"] = {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "graphMode": "area",
            "colorMode": "value",
        }
    else:
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return made


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": _COLORS[name], "value": value} for value, name in panel.steps]
    made: dict[str, Any] = {
        "unit": _UNITS[panel.unit],
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.kind is Kind.STAT else "palette-classic"},
    }
    if panel.kind in (Kind.LINES, Kind.STACKED):
        made["min"] = 0
        stacked = panel.kind is Kind.STACKED
        made["custom"] = {
            "fillOpacity": 50 if stacked else 10,
            "lineWidth": 1,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }
    return made


def _chosen(panel: Panel) -> dict[str, Any]:
    """Shows the labels that were chosen, in their order."""
    columns = panel.columns or {}
    names = {label: "Value" if label == "value" else label for label in columns}
    return {
        "id": "organize",
        "options": {
            "includeByName": dict.fromkeys(names.values(), True),
            "indexByName": {name: position for position, name in enumerate(names.values())},
            "renameByName": {names[label]: heading for label, heading in columns.items()},
        },
    }
