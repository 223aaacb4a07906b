"""Alerts: each is tested to fire and to be silent, has a runbook, and asks for metrics that there are."""

import hashlib
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from local.cli import app
from local.drills.table import DRILLS
from local.stack.layout import checkout
from tests.drills import test_alerts
from tests.faults.cluster import test_alerts as test_cluster_alerts
from tests.integration.local import test_observability
from tests.support.metrics import asked, defined
from tests.support.promtool import promtool

FOLDER = checkout() / "k8s" / "observability"
RULES = sorted((FOLDER / "rules").glob("*.yaml"))
# Fires always: what receives it notices when it stops.
ALWAYS = "MarqueeWatchdog"
# Of the client library, in every process.
LIBRARY = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
# `tests/integration/local/test_observability.py` asks a running edge for each that the rules name.
EDGE = re.compile(r"envoy_\w+")


def rules() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def test_every_metric_of_a_rule_is_one_that_a_process_exports() -> None:
    known = defined() | LIBRARY
    assert len(known) > 80
    unknown = {
        (rule.get("alert") or rule["record"], name)
        for rule in rules()
        for name in asked(rule["expr"])
        if name not in known and not EDGE.fullmatch(name)
    }
    assert not unknown


def test_the_list_of_metrics_is_true() -> None:
    script = runpy.run_path(str(checkout() / "scripts" / "telemetry.py"))
    made = script["rendered"]()
    assert set(script["FOLDER"].iterdir()) == set(made), "run `make docs`"
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name}: run `make docs`"


def test_every_metric_says_its_unit_and_what_it_means() -> None:
    units = ("_seconds", "_bytes", "_total", "_messages", "_ratio", "_percent")
    for path in (FOLDER / "metrics").iterdir():
        for name, metric in yaml.safe_load(path.read_text()).items():
            assert len(metric["help"]) > 20, name
            # What has no unit is counted, or is a state; a histogram of either says so.
            assert name.endswith(units) or metric["type"] != "histogram" or "_batch" in name, name


def test_every_alert_has_a_severity_a_summary_and_a_runbook() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket", "none"), alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]
        book = Path(alert["annotations"]["runbook_url"])
        assert book == Path("k8s/observability/runbooks") / f"{alert['alert']}.md"
        assert (checkout() / book).is_file(), book


def test_every_runbook_is_of_an_alert_and_names_commands_that_there_are() -> None:
    names = {alert["alert"] for alert in alerts()}
    command: Any = get_command(app)
    known = set(command.commands)
    exported = defined()
    index = (FOLDER / "runbooks" / "README.md").read_text()
    for book in (FOLDER / "runbooks").glob("Marquee*.md"):
        assert f"[{book.stem}]({book.name})" in index
        assert book.stem in names, book
        text = book.read_text()
        commands = set(re.findall(r"`marquee (\w+)", text))
        assert commands <= known, (book.name, commands - known)
        metrics = {name for name in asked(text) if not name.endswith("_svc")}
        # A histogram is spoken of by its own name.
        there = LIBRARY | exported | {name.removesuffix("_count") for name in exported}
        unknown = {name for name in metrics - there if not EDGE.fullmatch(name)}
        assert not unknown, (book.name, unknown)
        for path in re.findall(r"`((?:docs|edge|tests)/[\w./-]+)`", text):
            assert (checkout() / path).exists(), (book.name, path)


def test_every_alert_is_tested_both_ways() -> None:
    tested = {
        test["name"]
        for file in (FOLDER / "tests").glob("*.yaml")
        for test in yaml.safe_load(file.read_text())["tests"]
    }
    for name in {alert["alert"] for alert in alerts()}:
        wanted = {f"{name} fires"} if name == ALWAYS else {f"{name} fires", f"{name} is silent"}
        assert wanted <= tested, name


def test_every_alert_is_seen_on_a_running_mesh_or_told_not_to_be() -> None:
    seen = {
        *(drill.alert for drill in DRILLS),
        *(alert for _, alert in test_observability.BREAKS),
        *test_alerts.SEEN,
        *test_cluster_alerts.SEEN,
        ALWAYS,
    }
    text = (checkout() / "docs/operations/observability.md").read_text()
    _, _, section = text.partition("\n## Alerts\n")
    told = set(re.findall(r"\| `(Marquee\w+)` \|", section.partition("\n## ")[0]))
    names = {alert["alert"] for alert in alerts()}
    assert seen <= names
    assert names - seen == told
    assert f"{len(names)} alerts" in section
    assert f"{len(seen)} of them" in section


def test_the_rules_of_the_objectives_are_made_from_them_as_they_are() -> None:
    objectives = FOLDER / "slos" / "marquee.yaml"
    last = (FOLDER / "rules" / "slos.yaml").read_text().splitlines()[-1]
    assert last.endswith(hashlib.sha256(objectives.read_bytes()).hexdigest()), "run `make rules`"


@pytest.mark.slow
def test_the_rules_of_the_objectives_are_what_sloth_makes(tmp_path: Path) -> None:
    made = tmp_path / "slos.yaml"
    built = subprocess.run([checkout() / "scripts" / "rules.sh", made], capture_output=True, text=True)
    if "there is no Go" in built.stderr:
        pytest.skip(built.stderr.strip())
    assert built.returncode == 0, built.stderr
    assert made.read_text() == (FOLDER / "rules" / "slos.yaml").read_text()


def test_rules_are_well_formed() -> None:
    promtool("check", "rules", *map(str, RULES))


@pytest.mark.parametrize("file", sorted((FOLDER / "tests").glob("*.yaml")), ids=lambda file: str(file.stem))
def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    promtool("test", "rules", str(file))
