"""A pytest plugin for the runs of `make test-mutations`: the quickest tests come first.

A mutant that some test notices is mostly noticed by several; without it, mutmut names them in no order.
"""

import json
from pathlib import Path
from typing import Final

import pytest

_STATS: Final = Path("mutmut-stats.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by what each took when mutmut measured them; those that it did not, last."""
    if _STATS.exists():
        durations = json.loads(_STATS.read_text())["duration_by_test"]
        items.sort(key=lambda item: durations.get(item.nodeid, float("inf")))
