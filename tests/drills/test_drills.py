"""Every drill on a real mesh: its alert is heard of, its runbook can be followed, and all is well afterwards.

Conditions must last a second here (MARQUEE_ALERTS_FOR) and not the minutes that the rules ask for, which
`docs/operations/drills.md` has beside what was measured.
"""

import asyncio
import json
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from edge import trials
from local.drills.model import Drill
from local.drills.table import DRILLS, named
from local.stack import state as states
from local.stack.layout import Stack
from tests.drills.conftest import Mesh
from tests.support.command import marquee, run
from tests.support.runbooks import Follower
from tests.support.waiting import eventually

pytestmark = [pytest.mark.drills, pytest.mark.timeout(900)]

# Whose runbook mends them by its commands; of the others it says where to look.
BY_RUNBOOK = {"poison-message", "slow-query", "bad-canary", "old-certificate"}
# What follows from these has no voice of its own meanwhile.
CAUSES = {"primary-lost"}


@pytest.mark.parametrize("drill", DRILLS, ids=[drill.name for drill in DRILLS])
async def test_a_drill_is_heard_of_and_mended(mesh: Mesh, drill: Drill) -> None:
    await eventually(mesh.well, 120, 0.5, what="every part ready")
    mesh.heard.told.clear()
    follower = Follower(mesh.stack, drill.alert)
    by_runbook = drill.name in BY_RUNBOOK
    hold_s = 150 if by_runbook else 40 if drill.name in CAUSES else 10
    async with mesh.drilling(drill.name, "--hold", str(hold_s)) as process:
        await mesh.hears(drill.alert, "firing", process)
        await follower.follow()
        said = (await process.stdout.read()).decode()
        assert await process.wait() == 0, said
    print(f"\n{said}")
    await mesh.hears(drill.alert, "resolved")
    assert all(group["alertname"] == drill.alert for group in mesh.heard.groups_of(drill.alert))
    assert ("somebody has mended it" in said) == by_runbook, said
    if drill.name in CAUSES:
        assert "kept silent what follows" in said, said
    await follower.follow(afterwards=True)
    for command, answer in follower.said.items():
        if command.endswith("verify"):
            assert " 0 differ" in answer
    assert await mesh.well()
    assert not mesh.stack.home.drill_file.exists()
    assert re.search(rf"^{drill.name}: {drill.alert} fired after \d+ s", said, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_drill_that_is_ended_midway_mends(mesh: Mesh, number: signal.Signals) -> None:
    await eventually(mesh.well, 120, 0.5, what="every part ready")
    async with mesh.drilling("redis-lost", "--hold", "600") as process:
        assert await eventually(lambda: _stopped(mesh.stack, "redis"), 60, 0.1)
        process.send_signal(number)
        said = (await process.stdout.read()).decode()
        assert await process.wait() == (130 if number is signal.SIGINT else 1), said
    assert "what it had broken is mended" in said
    assert not _stopped(mesh.stack, "redis")
    await eventually(mesh.well, 60, 0.2, what="every part ready")


async def test_what_a_killed_drill_has_left_is_mended_by_the_next_command(mesh: Mesh) -> None:
    home = mesh.stack.home
    for name, is_broken in (
        ("replica-lag", lambda: home.drill_file.exists()),
        ("bad-canary", lambda: "movie_svc" in trials.load(home.envoy).canaries),
        ("redis-lost", lambda: _stopped(mesh.stack, "redis")),
    ):
        await eventually(mesh.well, 120, 0.5, what="every part ready")

        async def quiet(name: str = name) -> bool:
            found = named(name)
            return (await asyncio.to_thread(_alerts, mesh.stack)).isdisjoint({found.alert})

        await eventually(quiet, 300, 0.5)
        async with mesh.drilling(name, "--hold", "600") as process:
            await eventually(is_broken, 120, 0.1, what=f"{name}: broken")
            process.kill()
            await process.wait()
        refused = await asyncio.to_thread(run, home, "drill", "broker-lost")
        assert refused.returncode == 1
        assert "marquee drill --mend" in refused.stderr
        assert f"the drill {name}" in await asyncio.to_thread(marquee, home, "drill", "--mend")
        assert not is_broken()
        await eventually(mesh.well, 120, 0.5, what="every part ready")
    assert "no drill has left" in await asyncio.to_thread(marquee, home, "drill", "--mend")


def _stopped(stack: Stack, name: str) -> bool:
    pid = states.running(stack.home).processes[name].pid
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _alerts(stack: Stack) -> set[str]:
    url = f"http://{stack.address('prometheus', 'http')}/api/v1/alerts"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return {each["labels"]["alertname"] for each in json.load(answer)["data"]["alerts"]}
