"""Kill switches follow their flags, for everybody or nobody; what can't be read changes nothing."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mesh import switches
from mesh.flag_source import FileFlags
from mesh.switches import OMDB_CALLS, SWITCHES, TRENDING, Switchboard


@pytest.fixture(autouse=True)
def on_again() -> Iterator[None]:
    yield
    for switch in SWITCHES:
        switch._listeners.clear()
        switch.turn(True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    say(path)
    return path


@pytest.fixture
def board(file: Path) -> Switchboard:
    return Switchboard(FileFlags(file, switches.parse), [OMDB_CALLS, TRENDING])


def say(path: Path, **flags: dict[str, Any]) -> None:
    features = [{"name": name.replace("_", "-"), **flag} for name, flag in flags.items()]
    path.write_text(json.dumps({"version": 2, "features": features}))


def become(path: Path, content: str | None) -> None:
    path.unlink()
    if content is not None:
        path.write_text(content)


def shown(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_names_are_different_and_each_says_what_users_get_without() -> None:
    assert len({switch.name for switch in SWITCHES}) == len(SWITCHES) == 6
    assert all(switch.without.endswith(".") for switch in SWITCHES)


async def test_a_switch_follows_its_flag_and_is_on_without_one(file: Path, board: Switchboard) -> None:
    turned: list[bool] = []
    TRENDING.when_turned(lambda: turned.append(TRENDING.on))
    await board.look()
    assert TRENDING.on
    say(file, trending={"enabled": False, "strategies": [{"name": "default"}]})
    await board.look()
    assert not TRENDING.on
    assert OMDB_CALLS.on
    assert shown("marquee_switch_on", switch="trending") == 0
    assert shown("marquee_switch_on", switch="omdb-calls") == 1
    await board.look()
    say(file, trending={"enabled": True})
    await board.look()
    assert TRENDING.on
    say(file)
    await board.look()
    assert turned == [False, True]
    assert shown("marquee_switch_on", switch="trending") == 1


@pytest.mark.parametrize("content", [None, "{", '{"features": [{"name": "trending"}]}', '{"features": 7}'])
async def test_what_cant_be_read_changes_nothing(file: Path, board: Switchboard, content: str | None) -> None:
    say(file, trending={"enabled": False})
    await board.look()
    reason = "unreachable" if content is None else "refused"
    before = shown("marquee_switch_failures_total", reason=reason)
    become(file, content)
    await board.look()
    assert not TRENDING.on
    assert shown("marquee_switch_failures_total", reason=reason) == before + 1
    say(file, trending={"enabled": True})
    await board.look()
    assert TRENDING.on


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ({"strategies": [{"name": "default", "constraints": [{"contextName": "userId"}]}]}, "constraints"),
        ({"strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "20"}}]}, "share of callers"),
        ({"dependencies": [{"feature": "other"}]}, "other flags"),
    ],
)
async def test_a_switch_is_for_all_callers_and_what_is_for_some_is_named(
    file: Path, board: Switchboard, caplog: pytest.LogCaptureFixture, flag: dict[str, Any], problem: str
) -> None:
    say(file, trending={"enabled": True, **flag}, omdb_calls={"enabled": False, **flag})
    with caplog.at_level(logging.ERROR):
        await board.look()
    assert (TRENDING.on, OMDB_CALLS.on) == (True, False)
    assert caplog.text.count(problem) == 2
