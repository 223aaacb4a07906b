"""Writes k8s/observability/metrics/PACKAGE.yaml, the metrics of each package's processes, from the code.

`python scripts/telemetry.py`. A test holds what running processes export against these files.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

from mesh.services import SERVICES

FOLDER = Path(__file__).resolve().parents[1] / "k8s" / "observability" / "metrics"
PACKAGES = ("mesh", "edge", *(service.name for service in SERVICES))
HEAD = "# `make docs` makes this file from the code: the metrics that processes of {package} export.\n"


def schema(package: str) -> dict[str, dict[str, Any]]:
    """By name: the type, the labels, and what it means and what to do when it moves."""
    found = {}
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if info.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, MetricWrapperBase):
                found[value._name] = {
                    "type": value._type,
                    "labels": list(value._labelnames),
                    "help": value._documentation,
                }
    return dict(sorted(found.items()))


def rendered() -> dict[Path, str]:
    """The files with what they should hold."""
    every: set[str] = set()
    made = {}
    for package in PACKAGES:
        own = {name: each for name, each in schema(package).items() if name not in every}
        every |= own.keys()  # `mesh` comes first: others name its metrics too
        text = yaml.safe_dump(own, sort_keys=False, width=110, allow_unicode=True)
        made[FOLDER / f"{package}.yaml"] = HEAD.format(package=package) + text
    return made


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in rendered().items():
        path.write_text(text)
