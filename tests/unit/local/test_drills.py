"""Drills: what they say of themselves, and where they are refused."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from local.cli import app
from local.drills import running, stores
from local.drills.table import DRILLS, named
from local.stack import state as states
from local.stack.layout import Home, Shape, StackError, checkout
from movie_svc.caching.cache import KEY_PREFIX
from rating_svc import topics

OBSERVED = {"prometheus/http": 1, "alertmanager/http": 2, "envoy/edge": 3}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    made.make()
    monkeypatch.setenv("MARQUEE_HOME", str(made.root))
    monkeypatch.delenv("MARQUEE_ENVIRONMENT", raising=False)
    return made


def up(home: Home, **changed: object) -> None:
    state = states.own("ready")
    state.ports = dict(OBSERVED)
    for name, value in changed.items():
        setattr(state, name, value)
    states.write(home.state_file, state)


def test_each_drill_has_an_alert_with_its_runbook_and_says_what_users_notice() -> None:
    assert len({drill.name for drill in DRILLS}) == len(DRILLS) == 12
    rules = yaml.safe_load((checkout() / "k8s/observability/rules/alerts.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    for drill in DRILLS:
        assert drill.alert in alerts, drill.name
        assert (checkout() / drill.runbook).is_file()
        assert drill.breaks
        assert drill.notice
        assert drill.needs, drill.name
    assert stores.SUBMITTED == topics.SUBMITTED
    assert stores.TITLES == KEY_PREFIX


def test_they_are_listed_with_what_they_break_their_alert_and_its_runbook(home: Home) -> None:
    listed = CliRunner().invoke(app, ["drill"]).output
    for drill in DRILLS:
        for said in (f"{drill.name}: {drill.breaks}", drill.notice, drill.alert, drill.runbook):
            assert said in listed


@pytest.mark.parametrize(
    ("changed", "declared", "sentence"),
    [
        ({}, "production", "none where MARQUEE_ENVIRONMENT is production"),
        ({"environment": "production"}, "", "none where MARQUEE_ENVIRONMENT is production"),
        ({}, "prodction", "MARQUEE_ENVIRONMENT can't be 'prodction'"),
        ({"shape": Shape.CLUSTER}, "", "for the plain shape"),
        ({"ports": {"envoy/edge": 3}}, "", "--observability"),
    ],
)
def test_a_drill_is_refused_where_it_may_not_be(
    home: Home, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], declared: str, sentence: str
) -> None:
    up(home, **changed)
    if declared:
        monkeypatch.setenv("MARQUEE_ENVIRONMENT", declared)
    refused = CliRunner().invoke(app, ["drill", "redis-lost"])
    assert isinstance(refused.exception, StackError)
    assert sentence in str(refused.exception)
    assert not home.drill_file.exists()


def test_what_a_mesh_was_declared_to_be_stays_with_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_ENVIRONMENT", "production")
    up(home)
    monkeypatch.delenv("MARQUEE_ENVIRONMENT")
    with pytest.raises(StackError, match="production"):
        running.ground(home)


def test_a_drill_that_there_is_not_is_answered_with_those_that_there_are(home: Home) -> None:
    up(home)
    refused = CliRunner().invoke(app, ["drill", "no-such"])
    assert "redis-lost" in str(refused.exception)


def test_a_drill_is_refused_where_a_part_does_not_run_or_another_drill_does(home: Home) -> None:
    up(home)
    on = running.ground(home)
    redis = named("redis-lost")
    with pytest.raises(StackError, match="needs what does not run here: redis"):
        asyncio.run(running.run(on, redis, print))
    own = states.own()
    record = {"drill": "redis-lost", "pid": own.pid, "ticks": own.started_ticks, "notes": {}}
    home.drill_file.write_text(json.dumps(record))
    with pytest.raises(StackError, match="the drill redis-lost runs"):
        asyncio.run(running.run(on, redis, print))
    with pytest.raises(StackError, match="redis-lost runs: end it"):
        asyncio.run(running.mend_left(home, print))


def test_nothing_is_forgotten_while_the_mesh_that_it_broke_is_down(home: Home) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    home.drill_file.write_text(json.dumps({"drill": "redis-lost", "pid": child.pid, "ticks": 1, "notes": {}}))
    with pytest.raises(StackError, match="marquee up"):
        asyncio.run(running.mend_left(home, print))
    assert home.drill_file.exists()
