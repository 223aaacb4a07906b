"""New releases on trial at a test's edge, and the controller that delivers them."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from local.stack.layout import checkout
from tests.support.edge.mesh import Edge
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"
RATING = "/v1/users/me/ratings/tt0111161"
ON_TRIAL = ("movie_svc", "rating_svc")

# Minutes in production, seconds here.
_PACE = {
    "MARQUEE_EDGE_INTERVAL_S": "0.2",
    "MARQUEE_CANARY_BAKE_S": "1",
    "MARQUEE_CANARY_MIN_CALLS": "10",
}


async def healthy_releases(edge: Edge) -> None:
    """Waits until the edge knows that the new releases of both services are healthy."""

    async def healthy() -> bool:
        found = await edge.stats(r"(movie|rating)_svc_canary_hosts\.membership_healthy$")
        return list(found.values()) == [1, 1]

    await eventually(healthy, what="a healthy new release")


@contextlib.asynccontextmanager
async def controller(edge: Edge, **environment: str) -> AsyncIterator[None]:
    """The controller of that edge, as a process of its own."""
    given = {
        **os.environ,
        **_PACE,
        "MARQUEE_EDGE_DIR": str(edge.folder / "envoy"),
        "MARQUEE_EDGE_ADMIN": f"127.0.0.1:{edge.settings.admin_port}",
        **environment,
    }
    with (edge.folder / "controller.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge.controller", cwd=checkout(), env=given, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        assert await process.wait() == 0, (edge.folder / "controller.log").read_text()


async def release(edge: Edge, path: str = MOVIE, **headers: str) -> str:
    """Which release answers."""
    answer = await edge.http.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers.get("x-marquee-release", "stable"))


def rollout(percent: int, *constraints: dict[str, Any]) -> dict[str, Any]:
    """A strategy of Unleash: a share of everybody of whom the constraints are true."""
    parameters = {"rollout": str(percent), "stickiness": "default", "groupId": "movies"}
    return {"name": "flexibleRollout", "parameters": parameters, "constraints": list(constraints)}
