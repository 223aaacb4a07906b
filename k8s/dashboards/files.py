"""All dashboards, and the files that are made of them."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from k8s.dashboards import capacity, edge, grafana, objectives, overview, perses, service, stores
from k8s.dashboards.model import Dashboard

_HEAD: Final = "# A ConfigMap for Grafana. `make dashboards` makes this file from k8s/dashboards.\n"
FOLDER: Final = Path(__file__).parents[1] / "observability" / "dashboards"

DASHBOARDS: Final[tuple[Dashboard, ...]] = (
    overview.PAGE,
    *service.PAGES,
    edge.PAGE,
    stores.PAGE,
    objectives.PAGE,
    capacity.PAGE,
)
"""In the order in which they are offered."""


def rendered() -> dict[Path, str]:
    """What must stand in each file."""
    made = {FOLDER / "perses" / "index.json": json.dumps([each.name for each in DASHBOARDS]) + "\n"}
    for dashboard in DASHBOARDS:
        for name, form in (("perses", perses.render(dashboard)), ("grafana", grafana.render(dashboard))):
            made[FOLDER / name / f"{dashboard.name}.json"] = json.dumps(form, indent=1) + "\n"
    made[FOLDER / "kustomization.yaml"] = _HEAD + yaml.safe_dump(_config_map(), sort_keys=False)
    return made


def _config_map() -> dict[str, Any]:
    """Grafana's side-car looks for ConfigMaps with this label."""
    return {
        "configMapGenerator": [
            {
                "name": "marquee-dashboards",
                "files": [f"grafana/{dashboard.name}.json" for dashboard in DASHBOARDS],
                "options": {"disableNameSuffixHash": True, "labels": {"grafana_dashboard": "1"}},
            }
        ]
    }
