"""New releases and experiments on the whole mesh: real services, the controller, the `marquee` command."""

import asyncio
import json
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from edge import tokens
from local.commands import admin
from local.stack.layout import Stack
from tests.support.command import marquee, run
from tests.support.waiting import eventually

SCORE = "/v1/movies/tt0111161/score"
PRIOR_VOTES = {"control": 20, "few-votes": 5, "many-votes": 100}
USERS = [f"taster-{number}" for number in range(60)]


@pytest.fixture
async def http(mesh_stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mesh_stack.edge_url, timeout=20) as client:
        yield client
    write_flags(mesh_stack)


def bearer(stack: Stack, user: str) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.issue(stack.home.tokens, user, tier='partner')}"}


def write_flags(stack: Stack, *features: dict[str, Any]) -> None:
    partial = stack.home.root / "flags.new"
    partial.write_text(json.dumps({"version": 2, "features": list(features)}))
    partial.rename(stack.home.root / "flags.json")


def experiment(rollout: int, **weights: int) -> dict[str, Any]:
    parameters = {"rollout": str(rollout), "stickiness": "default", "groupId": "ranking-formula"}
    variants = [{"name": name.replace("_", "-"), "weight": weight} for name, weight in weights.items()]
    strategy = {"name": "flexibleRollout", "parameters": parameters, "variants": variants}
    return {"name": "ranking-formula", "type": "experiment", "enabled": True, "strategies": [strategy]}


async def rated(http: httpx.AsyncClient, stack: Stack) -> None:
    """A movie that is better than the mean of all, whatever other tests have rated, so that m matters."""
    for movie, score in (("tt0111161", 10), ("tt0068646", 1)):
        path = f"/v1/users/me/ratings/{movie}"
        answer = await http.put(path, json={"score": score}, headers=bearer(stack, "rater"))
        assert answer.status_code == 200

        async def counted(movie: str = movie, score: int = score) -> bool:
            found = await http.get(f"/v1/movies/{movie}/score")
            return bool(found.json()["histogram"][score - 1] > 0)

        await eventually(counted, timeout=30, what="a vote")
    # Not in the middle of a test, when it may find that it is due.
    await asyncio.to_thread(admin.rebuild_charts, stack)


def variant_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.headers.get("x-marquee-variant", ""))


def envoy_exposures(stack: Stack) -> dict[str, int]:
    url = f"http://{stack.address('envoy', 'admin')}/stats/prometheus?filter=exposures"
    page = urllib.request.urlopen(url, timeout=30).read().decode()
    return {
        found[1]: int(found[2])
        for found in re.finditer(r'^\S*exposures\{.*variant="([^"]*)".*\} (\d+)$', page, re.MULTILINE)
    }


async def test_variants_stick_show_and_are_never_mixed_up(http: httpx.AsyncClient, mesh_stack: Stack) -> None:
    await rated(http, mesh_stack)
    spoofed = {"x-marquee-experiment": "ranking-formula", "x-marquee-variant": "many-votes"}
    plain = await http.get(SCORE, headers=spoofed)
    assert variant_of(plain) == ""
    assert plain.json()["formula"]["priorVotes"] == 20

    began = time.monotonic()
    write_flags(mesh_stack, experiment(100, control=334, few_votes=333, many_votes=333))
    await eventually(lambda: under_way(http), what="the experiment")
    print(f"from the flag's change to the traffic's: {time.monotonic() - began:.2f} s")
    before = await asyncio.to_thread(envoy_exposures, mesh_stack)

    seen: Counter[str] = Counter()
    mine = await users_stay_with_their_variants(http, mesh_stack, seen)
    chart = await http.get("/v1/charts/top-rated", headers=bearer(mesh_stack, USERS[0]))
    assert variant_of(chart) == mine[USERS[0]]
    assert chart.json()["formula"]["priorVotes"] == PRIOR_VOTES[mine[USERS[0]]]
    seen[variant_of(chart)] += 1
    others = await http.get("/v1/charts/most-voted", headers=bearer(mesh_stack, USERS[0]))
    assert variant_of(others) == "", "other charts have no part in it"

    # Without a name: by what the client calls itself, else by its address.
    named = {f"app-{each}": {"marquee-client": f"app-{each}"} for each in range(20)}
    for headers in (*named.values(), {}):
        first, again = [variant_of(await http.get(SCORE, headers=headers)) for _ in range(2)]
        assert first == again
        seen[first] += 2

    async def all_counted() -> bool:
        after = await asyncio.to_thread(envoy_exposures, mesh_stack)
        return {name: count - before.get(name, 0) for name, count in after.items()} == dict(seen)

    await eventually(all_counted, what=f"each exposure counted: {seen}")
    made = await asyncio.to_thread(service_exposures, mesh_stack)
    assert all(0 < made[name] <= envoy_exposures(mesh_stack)[name] for name in PRIOR_VOTES)

    write_flags(mesh_stack)

    async def over() -> bool:
        return not await under_way(http)

    await eventually(over, what="the experiment's end")
    assert (await http.get(SCORE)).json()["formula"]["priorVotes"] == 20


async def under_way(http: httpx.AsyncClient) -> bool:
    return variant_of(await http.get(SCORE)) != ""


async def users_stay_with_their_variants(
    http: httpx.AsyncClient, stack: Stack, seen: Counter[str]
) -> dict[str, str]:
    """Each user's variant, asked for three times; adds to what was `seen` of each variant."""
    mine: dict[str, str] = {}
    weighted: dict[str, float] = {}
    for _ in range(3):
        for user in USERS:
            answer = await http.get(SCORE, headers=bearer(stack, user))
            variant = variant_of(answer)
            seen[variant] += 1
            assert mine.setdefault(user, variant) == variant, "a user stays with a variant"
            assert answer.headers["x-marquee-experiment"] == "ranking-formula"
            assert answer.json()["formula"]["priorVotes"] == PRIOR_VOTES[variant], (
                "nobody gets another's answer"
            )
            score = weighted.setdefault(variant, answer.json()["weighted"])
            assert answer.json()["weighted"] == score
    assert set(mine.values()) == set(PRIOR_VOTES)
    assert min(Counter(mine.values()).values()) >= 8
    assert len(set(weighted.values())) == 3
    return mine


def service_exposures(stack: Stack) -> dict[str, float]:
    url = f"http://{stack.address('ranking_svc', 'metrics')}/metrics"
    page = urllib.request.urlopen(url, timeout=30).read().decode()
    counter = r'^marquee_experiment_exposures_total\{.*variant="([^"]*)"\} (\S+)$'
    found = re.finditer(counter, page, re.MULTILINE)
    return {each[1]: float(each[2]) for each in found}


async def test_a_new_release_of_a_real_service_takes_calls_by_command(
    http: httpx.AsyncClient, mesh_stack: Stack
) -> None:
    await rated(http, mesh_stack)
    said = await asyncio.to_thread(
        marquee, mesh_stack.home, "canary", "start", "ranking_svc", "--env", "MARQUEE_RANKING_MAX_AGE_S=7"
    )
    assert "ranking_svc-canary is process" in said
    try:
        assert "ranking_svc\t100 %" in await asyncio.to_thread(
            marquee, mesh_stack.home, "canary", "set", "ranking_svc", "100"
        )

        async def moved() -> bool:
            answer = await http.get(SCORE)
            assert answer.status_code == 200
            return answer.headers["cache-control"] == "public, max-age=7"

        await eventually(moved, what="the new release's answers")
        stable = await http.get(SCORE, headers={"marquee-release": "stable"})
        assert stable.headers["cache-control"] == "public, max-age=1"
        assert "by operator" in await asyncio.to_thread(marquee, mesh_stack.home, "canary", "show")
    finally:
        assert "stopped" in await asyncio.to_thread(marquee, mesh_stack.home, "canary", "stop", "ranking_svc")
    for _ in range(5):
        assert (await http.get(SCORE)).headers["cache-control"] == "public, max-age=1"
    assert "there is no service" in await asyncio.to_thread(
        marquee, mesh_stack.home, "canary", "set", "no_svc", "5", code=1
    )


async def healthy_status(stack: Stack, *words: str) -> str:
    """What `marquee status` says once every process has answered it."""

    async def said() -> str | None:
        done = await asyncio.to_thread(run, stack.home, "status", *words)
        return done.stdout if done.returncode == 0 else None

    return await eventually(said, timeout=120, interval=0.5)


async def test_a_new_release_stands_in_the_status(mesh_stack: Stack) -> None:
    before = time.monotonic()
    said = await asyncio.to_thread(marquee, mesh_stack.home, "canary", "start", "movie_svc")
    address = said.strip().rpartition(" ")[2]
    try:
        # Each process has two seconds to say that it is well, which a busy machine may take by itself.
        shown = await healthy_status(mesh_stack)
        (line,) = [line.split() for line in shown.splitlines() if line.startswith("movie_svc-canary ")]
        assert line[1:3] == [address, "ready"]
        assert "…" not in shown, "into a pipe, nothing is cut off"
        found = json.loads(await healthy_status(mesh_stack, "--json"))
        assert found["healthy"]
        (trial,) = [each for each in found["processes"] if each["name"] == "movie_svc-canary"]
        assert trial["memory_mib"] > 0
        assert trial["uptime_s"] <= time.monotonic() - before + 1

        os.kill(trial["pid"], signal.SIGKILL)

        async def failed() -> dict[str, Any] | None:
            ended = json.loads((await asyncio.to_thread(run, mesh_stack.home, "status", "--json")).stdout)
            (now,) = [each for each in ended["processes"] if each["name"] == "movie_svc-canary"]
            return now if now["condition"] == "failed" and not ended["healthy"] else None

        trial = await eventually(failed, interval=0.5)
        assert "marquee logs movie_svc-canary" in trial["detail"]
    finally:
        await asyncio.to_thread(marquee, mesh_stack.home, "canary", "stop", "movie_svc")
    assert "canary" not in await healthy_status(mesh_stack)
