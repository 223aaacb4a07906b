"""Writes the tables of docs/operations/drills.md from the code: `python scripts/operations.py`."""

import re
from pathlib import Path

from local.drills.table import DRILLS
from mesh.switches import SWITCHES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations" / "drills.md"
RUNBOOKS = "../../k8s/observability/runbooks"


def drills() -> str:
    """All drills."""
    rows = [
        f"| `{each.name}` | {each.breaks} | {each.notice} | [{each.alert}]({RUNBOOKS}/{each.alert}.md) |"
        for each in DRILLS
    ]
    return "\n".join(["| drill | what breaks | what users notice | alert |", "|---|---|---|---|", *rows])


def switches() -> str:
    """All kill switches."""
    rows = [f"| `{each.name}` | {each.without} |" for each in SWITCHES]
    return "\n".join(["| flag | what users get while it is off |", "|---|---|", *rows])


TABLES = {"drills": drills, "switches": switches}


def render(text: str) -> str:
    """The page with its tables as they are now."""
    for name, table in TABLES.items():
        made = table()
        pattern = rf"(<!-- {name}: `make docs` makes this table -->\n).*?(\n<!-- end -->)"
        parts = re.split(pattern, text, flags=re.DOTALL)
        if len(parts) != 4:
            raise SystemExit(f"{PAGE.name} has no one place for the table of {name}")
        text = parts[0] + parts[1] + made + parts[2] + parts[3]
    return text


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
