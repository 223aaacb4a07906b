"""Who imports whom: only what is below, as the maps of the packages say, and never in a circle."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAY_USE: Final = {
    "mesh": set[str](),
    "movie_svc": {"mesh"},
    "rating_svc": {"mesh"},
    "ranking_svc": {"mesh"},
    "edge": {"mesh"},
    "local": {"edge", "mesh"},
    "k8s": {"local", "edge", "mesh", "movie_svc", "rating_svc", "ranking_svc"},
}
"""Packages, and the others that each may import. Services never import one another."""
ALLOWED: Final = {("local.drills.bad_release.sitecustomize", "movie_svc.service")}
"""It is loaded by the release that it breaks, and by nothing of the launcher."""


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES: Final = {module(file): file for package in MAY_USE for file in (ROOT / package).rglob("*.py")}


def imported(file: Path) -> Iterator[str]:
    """The modules of this repository that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{each.name}" for each in node.names]
            names = [name if name in FILES else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in FILES)


USES: Final = {name: set(imported(file)) - {name} for name, file in FILES.items()}


@pytest.mark.parametrize("package", MAY_USE)
def test_a_package_uses_only_those_below_it(package: str) -> None:
    backward = [
        (name, other)
        for name, others in USES.items()
        for other in others
        if name.split(".")[0] == package != other.split(".")[0]
        and other.split(".")[0] not in MAY_USE[package]
        and (name, other) not in ALLOWED
    ]
    assert not backward


def test_no_module_imports_itself_by_way_of_others() -> None:
    # The error names the circle.
    TopologicalSorter(USES).prepare()


def floors(package: str) -> dict[str, int]:
    """The floor of each module or room that the map of a package names, the lowest first."""
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("|")]
    found: dict[str, int] = {}
    floor = 0
    for row in rows:
        if "**" in row or "**" not in text:
            floor += 1
        found |= dict.fromkeys(re.findall(r"`(\w+\*?)`", row), floor)
    return found


@pytest.mark.parametrize("package", ["mesh", "movie_svc", "rating_svc", "ranking_svc", "local"])
def test_arrows_go_down_as_the_map_says(package: str) -> None:
    of = floors(package)
    wild = {name[:-1]: floor for name, floor in of.items() if name.endswith("*")}

    def floor(name: str) -> int | None:
        room = ([*name.split("."), ""])[1]
        starts = [number for start, number in wild.items() if room.startswith(start)]
        return of.get(room, starts[0] if starts else None)

    upward = defaultdict(list)
    for name, others in USES.items():
        mine = floor(name)
        for other in others:
            its = floor(other)
            if name.split(".")[0] == other.split(".")[0] == package and mine and its and its > mine:
                upward[name].append(other)
    assert not upward


@pytest.mark.parametrize("package", ["mesh", "rating_svc", "ranking_svc"])
def test_the_map_names_all_modules(package: str) -> None:
    named = floors(package)
    wild = tuple(name[:-1] for name in named if name.endswith("*"))
    there = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__", "__main__"}
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert {name for name in there | rooms if not (wild and name.startswith(wild))} == {
        name for name in named if not name.endswith("*")
    }
