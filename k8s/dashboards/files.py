"""All dashboards, and the files that are made of them."""

import json
from pathlib import Path
from typing import Final

from k8s.dashboards import capacity, edge, grafana, objectives, overview, perses, service, stores
from k8s.dashboards.model import Dashboard

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
    return made
