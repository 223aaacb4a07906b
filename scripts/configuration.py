"""Writes docs/configuration.md from the settings in the code: `python scripts/configuration.py`."""

import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

from mesh.config import Setting, settings_of
from mesh.services import SERVICES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
PACKAGES = {
    "mesh": "Every process",
    **{service.name: service.name for service in SERVICES},
    "edge": "The edge: its configuration and its controller",
}
HEAD = """# Configuration

Processes read everything from the environment, once, when they start, and refuse a bad value with a sentence.
`marquee env SERVICE` prints what the local stack sets. `make docs` makes this page from the code.
"""


def concerns(package: str) -> list[type]:
    """The configuration dataclasses of a package."""
    found = []
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            own = cls.__module__ == module.__name__
            if own and dataclasses.is_dataclass(cls) and settings_of(cls):
                found.append(cls)
    return found


def row(setting: Setting, default: Any) -> str:
    """One line of the table."""
    if default is dataclasses.MISSING:
        shown = "required"
    elif default in ("", ()):
        shown = "empty"
    else:
        shown = f"`{default}`"
    return f"| `{setting.env}` | {shown} | {setting.help} |"


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    seen: set[str] = set()
    for package, title in PACKAGES.items():
        parts.append(f"## {title}\n\n| variable | default | what it is |\n|---|---|---|")
        for cls in concerns(package):
            for setting, default in settings_of(cls):
                if setting.env not in seen:
                    seen.add(setting.env)
                    parts.append(row(setting, default))
        parts[-1] += "\n"
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
