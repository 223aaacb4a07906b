"""Pages that are made from the code say what the code says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_configuration_page_is_true() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "configuration.py"))
    assert script["PAGE"].read_text() == script["render"](), "run `make docs`"
