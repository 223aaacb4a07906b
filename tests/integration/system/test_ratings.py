"""What follows from a rating on the whole mesh: a live score, a proof, and a refusal in time."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from edge import tokens
from local.stack.layout import Stack
from tests.support.command import run
from tests.support.parts import hung, pid_of
from tests.support.waiting import eventually

MOVIE = "tt0068646"


@pytest.fixture
async def api(mesh_stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    token = tokens.issue(mesh_stack.home.tokens, f"user-{uuid.uuid4()}")
    async with httpx.AsyncClient(
        base_url=mesh_stack.edge_url, headers={"authorization": f"Bearer {token}"}, timeout=15
    ) as client:
        yield client


async def test_who_watches_a_score_sees_a_vote_come_in(api: httpx.AsyncClient) -> None:
    async with api.stream("GET", f"/v1/movies/{MOVIE}/score:watch") as stream:
        lines = stream.aiter_lines()
        before = json.loads(await anext(lines))
        rated = await api.put(f"/v1/users/me/ratings/{MOVIE}", json={"score": 10})
        assert rated.status_code == 200, rated.text
        async with asyncio.timeout(60):
            while (after := json.loads(await anext(lines)))["votes"] == before["votes"]:
                pass
    assert after["votes"] == before["votes"] + 1
    assert after["histogram"][9] == before["histogram"][9] + 1


async def test_verify_finds_what_is_wrong_and_repairs_it(mesh_stack: Stack, api: httpx.AsyncClient) -> None:
    assert (await api.put(f"/v1/users/me/ratings/{MOVIE}", json={"score": 3})).status_code == 200

    async def agrees() -> bool:
        return (await asyncio.to_thread(run, mesh_stack.home, "verify")).returncode == 0

    await eventually(agrees, 60, 0.5)
    connection = await asyncpg.connect(mesh_stack.dsn("ranking_svc"))
    try:
        await connection.execute("UPDATE scores SET h3 = h3 + 7 WHERE movie = $1", int(MOVIE[2:]))
    finally:
        await connection.close()
    found = await asyncio.to_thread(run, mesh_stack.home, "verify")
    assert found.returncode == 1
    assert MOVIE in found.stdout
    await asyncio.to_thread(run, mesh_stack.home, "verify", "--repair")
    await eventually(agrees, 60, 0.5)


async def test_a_write_that_the_log_does_not_take_is_refused_in_time_and_safe_to_repeat(
    mesh_stack: Stack, api: httpx.AsyncClient
) -> None:
    wish = {"score": 4, "requestId": str(uuid.uuid4())}
    path = f"/v1/users/me/ratings/{MOVIE}"
    assert (await api.put(path, json={"score": 9})).status_code == 200
    with hung(pid_of(mesh_stack, "kafka")):
        refused = await api.put(path, json=wish)
        # Later, the edge would have ended the call with 504.
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) >= 1
        assert (await api.get(path)).json()["score"] == 9

    async def taken() -> bool:
        return (await api.put(path, json=wish)).status_code == 200

    await eventually(taken, 60, 0.5)
    assert (await api.get(path)).json()["score"] == 4
    later = await api.put(path, json={"score": 6})
    assert later.status_code == 200
    # Once more, long after: it has had its effect.
    assert (await api.put(path, json=wish)).status_code == 200

    async def settled() -> bool:
        mine = (await api.get(path)).json()
        return (mine["score"], mine["state"]) == (6, "STATE_ACTIVE")

    await eventually(settled, 30, 0.2)
