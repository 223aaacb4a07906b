"""A new release takes a share of the calls, changed while they come in."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge import canary
from edge.render import render
from tests.edge.mesh import Edge, Instance, eventually, running_edge

RATING = "/v1/users/me/ratings/tt0111161"


@pytest.fixture
async def trial() -> AsyncIterator[Instance]:
    instance = await Instance().start()
    yield instance
    await instance.stop()


@pytest.fixture
async def edge(trial: Instance) -> AsyncIterator[Edge]:
    canaries = {"rating_svc": [f"127.0.0.1:{trial.port}"], "movie_svc": [f"127.0.0.1:{trial.port}"]}
    async with running_edge(canaries=canaries) as edge:

        async def healthy() -> bool:
            found = await edge.stats(r"_svc_canary\.membership_healthy$")
            return list(found.values()) == [1, 1]

        await eventually(healthy, what="a healthy new release")
        yield edge


async def share(edge: Edge, trial: Instance, path: str = RATING, calls: int = 200) -> float:
    """What share of so many calls the new release answers."""
    edge.service.calls.clear()
    trial.calls.clear()
    headers = edge.bearer(tier="partner")
    assert {(await edge.http.get(path, headers=headers)).status_code for _ in range(calls)} == {200}
    assert len(edge.service.calls) + len(trial.calls) == calls
    return len(trial.calls) / calls


async def reaches(edge: Edge, trial: Instance, low: float, high: float) -> None:
    async def there() -> bool:
        return low <= await share(edge, trial, calls=60) <= high

    await eventually(there, what=f"a share between {low} and {high}")


async def test_the_share_follows_the_file_without_a_failed_call(edge: Edge, trial: Instance) -> None:
    folder = edge.folder / "envoy"
    assert await share(edge, trial) == 0
    await asyncio.to_thread(canary.set_share, folder, "rating_svc", 30)
    await reaches(edge, trial, 0.1, 0.5)
    assert 0.18 <= await share(edge, trial, calls=400) <= 0.42
    await asyncio.to_thread(canary.set_share, folder, "rating_svc", 100)
    await reaches(edge, trial, 1, 1)
    await asyncio.to_thread(canary.set_share, folder, "rating_svc", 0)
    await reaches(edge, trial, 0, 0)


async def test_cached_services_and_others_are_divided_by_themselves(edge: Edge, trial: Instance) -> None:
    await asyncio.to_thread(canary.set_share, edge.folder / "envoy", "movie_svc", 100)

    async def moved() -> bool:
        return await share(edge, trial, "/v1/movies/tt0111161", calls=5) == 1

    await eventually(moved, what="movies from the new release")
    assert await share(edge, trial, calls=20) == 0, "ratings stay where they are"


async def test_rendering_again_keeps_the_shares(edge: Edge, trial: Instance) -> None:
    folder = edge.folder / "envoy"
    canary.set_share(folder, "rating_svc", 25)
    render(dataclasses.replace(edge.settings), folder)
    assert canary.shares(folder) == {"rating_svc": 25}


async def test_what_can_not_be_is_refused(edge: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    folder = edge.folder / "envoy"
    with pytest.raises(ValueError, match="101 is no share"):
        canary.set_share(folder, "rating_svc", 101)
    words = ["set", "--dir", str(folder), "ranking_svc", "5"]
    assert canary.main(words) == 1
    assert "--ranking-canary HOST:PORT" in capsys.readouterr().err
    assert canary.main(["show", "--dir", str(Path(folder))]) == 0
