"""The controller: flags become routes, good releases are promoted, bad ones rolled back."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from marquee.movies.v1 import movies_pb2

from edge import canary, trials
from tests.support.edge.mesh import Edge, Instance, fail, rich_error, running_edge
from tests.support.edge.trials import MOVIE, ON_TRIAL, RATING, controller, healthy_releases, release, rollout
from tests.support.repeating import connected, repeatedly
from tests.support.waiting import eventually

pytestmark = pytest.mark.alone

SERVICE = "movie_svc"


@pytest.fixture
async def trial() -> AsyncIterator[Instance]:
    instance = await Instance().start()
    yield instance
    await instance.stop()


@pytest.fixture
async def edge(trial: Instance) -> AsyncIterator[Edge]:
    async with running_edge(canaries={service: [trial.address] for service in ON_TRIAL}) as edge:
        await healthy_releases(edge)
        yield edge


@contextlib.asynccontextmanager
async def under_load(edge: Edge, clients: int = 8) -> AsyncIterator[Counter[tuple[str, int]]]:
    """Clients without a name; counts what they get, by release and status."""
    outcomes: Counter[tuple[str, int]] = Counter()

    async def call(http: httpx.AsyncClient) -> None:
        answer = await http.get(MOVIE)
        outcomes[answer.headers.get("x-marquee-release", "stable"), answer.status_code] += 1

    async with connected(edge.url, clients) as https, repeatedly(*(partial(call, http) for http in https)):
        yield outcomes


def delivery(edge: Edge) -> dict[str, Any]:
    found = trials.load(edge.folder / "envoy").canaries.get(SERVICE)
    return dict(found.delivery) if found else {}


async def reached(edge: Edge, phase: str) -> None:
    async def there() -> bool:
        return delivery(edge).get("phase") == phase

    await eventually(there, timeout=90, what=phase)


async def total(outcomes: Counter[tuple[str, int]], more: int) -> None:
    target = outcomes.total() + more

    async def enough() -> bool:
        return outcomes.total() >= target

    await eventually(enough, timeout=60, what=f"{more} more answers")


async def test_a_good_release_is_promoted_step_by_step_without_a_failed_call(edge: Edge) -> None:
    folder = edge.folder / "envoy"
    seen: list[float] = []
    async with controller(edge), under_load(edge) as outcomes:
        canary.deliver(folder, SERVICE)

        async def promoted() -> bool:
            percent = canary.shares(folder)[SERVICE]
            if percent not in seen:
                seen.append(percent)
            return delivery(edge).get("phase") == "promoted"

        await eventually(promoted, timeout=240, what="the promotion")
        before = Counter(outcomes)
        await total(outcomes, 100)
    assert [percent for percent in seen if percent] == [1, 5, 25, 50, 100]
    assert {status for _, status in outcomes} == {200}
    late = outcomes - before
    assert late["stable", 200] <= 8, "at most what was under way"
    assert canary.shares(folder) == {SERVICE: 100}


async def broken(request: movies_pb2.GetMovieRequest, context: grpc.aio.ServicerContext) -> movies_pb2.Movie:
    await fail(context, rich_error(grpc.StatusCode.INTERNAL, "my new code is wrong"))
    raise AssertionError


async def slow(request: movies_pb2.GetMovieRequest, context: grpc.aio.ServicerContext) -> movies_pb2.Movie:
    await asyncio.sleep(0.8)
    return movies_pb2.Movie(name=request.name)


@pytest.mark.parametrize("planted", [broken, slow])
async def test_a_bad_release_is_taken_back_and_hardly_anybody_notices(
    edge: Edge, trial: Instance, planted: Any, record_property: Any
) -> None:
    trial.handlers["GetMovie"] = planted
    folder = edge.folder / "envoy"
    async with controller(edge), under_load(edge) as outcomes:
        await total(outcomes, 2000)
        began = time.monotonic()
        canary.deliver(folder, SERVICE)
        await reached(edge, "rolled back")
        took = time.monotonic() - began
        struck_by_then = sum(count for (release, _), count in outcomes.items() if release == "canary")
        await total(outcomes, 1000)
        await asyncio.sleep(1)
        after = Counter(outcomes)
        await total(outcomes, 300)
    struck = sum(count for (release, _), count in outcomes.items() if release == "canary")
    record_property("touched", f"{struck} of {outcomes.total()} in {took:.1f} s")
    print(
        f"touched {struck} of {outcomes.total()}; rolled back after {took:.1f} s; {delivery(edge)['reason']}"
    )
    assert struck >= 3, "it was tried"
    assert struck < outcomes.total() * 0.01
    assert struck <= struck_by_then + 8, "at most what was under way"
    assert {release for release, _ in outcomes - after} == {"stable"}
    assert canary.shares(folder) == {SERVICE: 0}
    assert "at 1 %" in delivery(edge)["reason"]


async def test_where_no_new_release_is_left_the_stable_one_answers(edge: Edge, trial: Instance) -> None:
    canary.set_share(edge.folder / "envoy", SERVICE, 50)
    async with under_load(edge) as outcomes:
        await total(outcomes, 200)
        await trial.set_serving(False)
        # The chassis stops once it has waited for that.
        name = "cluster.movie_svc_canary_hosts.membership_healthy"
        await eventually(lambda: _is(edge, name, 0), what="an edge that has noticed")
        await trial.stop(grace=5)
        await total(outcomes, 400)
    assert {status for _, status in outcomes} == {200}, outcomes


async def _is(edge: Edge, stat: str, value: int) -> bool:
    return (await edge.stats(f"^{stat}$"))[stat] == value


def flags_file(path: Path, **features: dict[str, Any]) -> None:
    listed = [{"name": name, "type": "release", **feature} for name, feature in features.items()]
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps({"version": 2, "features": listed}))
    partial.rename(path)


def rollout_flag(percent: int) -> dict[str, Any]:
    return {"enabled": True, "strategies": [rollout(percent)]}


async def test_a_flag_in_a_file_moves_the_traffic(edge: Edge) -> None:
    file = edge.folder / "flags.json"
    flags_file(file)
    folder = edge.folder / "envoy"
    async with controller(edge, MARQUEE_FLAGS_FILE=str(file)):
        began = time.monotonic()
        flags_file(file, **{"canary-movie_svc": rollout_flag(100)})

        async def moved() -> bool:
            return await release(edge) == "canary"

        await eventually(moved, what="the new release")
        took = time.monotonic() - began
        print(f"from the file's change to the traffic's: {took:.2f} s")

        async def back() -> bool:
            return await release(edge) == "stable"

        # Neither a broken file nor a flag that routes can't follow changes anything.
        file.write_text("{")
        flags_file(file, **{"canary-movie_svc": {"enabled": True, "strategies": [{"name": "mystery"}]}})
        await asyncio.sleep(1)
        assert await release(edge) == "canary"
        # An operator's word stands above the flag's until it is cleared.
        flags_file(file, **{"canary-movie_svc": rollout_flag(100)})
        canary.set_share(folder, SERVICE, 0)
        await eventually(back, what="the stable release")
        await asyncio.sleep(1)
        assert await release(edge) == "stable"
        canary.clear(folder, SERVICE)
        await eventually(moved, what="the new release again")
        flags_file(file, **{"canary-movie_svc": {**rollout_flag(100), "enabled": False}})
        await eventually(back, what="the stable release again")


async def test_a_flag_for_some_users_is_for_them_alone(edge: Edge) -> None:
    file = edge.folder / "flags.json"
    testers = {"name": "userWithId", "parameters": {"userIds": "ann,bob"}}
    flags_file(file, **{"canary-rating_svc": {"enabled": True, "strategies": [testers]}})
    async with controller(edge, MARQUEE_FLAGS_FILE=str(file)):

        async def taken() -> bool:
            return await release(edge, RATING, **edge.bearer("ann")) == "canary"

        await eventually(taken, what="the new release for ann")
        assert await release(edge, RATING, **edge.bearer("bob")) == "canary"
        assert {await release(edge, RATING, **edge.bearer(f"u{each}")) for each in range(20)} == {"stable"}
