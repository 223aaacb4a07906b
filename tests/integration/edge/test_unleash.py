"""Flags of a real Unleash server move the edge's traffic. Downloads Node and Unleash, the first time."""

import asyncio
import time

import pytest

from local.stack.layout import Stack
from tests.support.edge import unleash
from tests.support.edge.mesh import Edge, Instance, running_edge
from tests.support.edge.trials import MOVIE, ON_TRIAL, RATING, controller, healthy_releases, release, rollout
from tests.support.waiting import eventually

# Two attempts at each of two downloads.
pytestmark = pytest.mark.timeout(1500)


async def becomes(edge: Edge, wanted: str, path: str = MOVIE, **headers: str) -> float:
    """Waits until a release answers; returns how long that took."""
    began = time.monotonic()

    async def there() -> bool:
        return await release(edge, path, **headers) == wanted

    await eventually(there, timeout=30, what=f"the {wanted} release")
    return time.monotonic() - began


async def test_unleash_decides_who_gets_a_new_release(stack: Stack) -> None:
    trial = await Instance().start()
    canaries = {service: [trial.address] for service in ON_TRIAL}
    async with unleash.running(stack) as server, running_edge(canaries=canaries) as edge:
        await healthy_releases(edge)
        flags = {"MARQUEE_UNLEASH_URL": server.url, "MARQUEE_UNLEASH_TOKEN": unleash.CLIENT}
        async with controller(edge, **flags):
            await server.create("canary-movie_svc", rollout(100))
            took = await becomes(edge, "canary")
            print(f"from a flag's creation to the traffic: {took:.2f} s")
            await server.switch("canary-movie_svc", on=False)
            off = await becomes(edge, "stable")
            await server.switch("canary-movie_svc", on=True)
            on = await becomes(edge, "canary")
            print(f"off: {off:.2f} s, on: {on:.2f} s")

            await server.replace("canary-movie_svc", rollout(30))

            async def divided() -> bool:
                found = [await release(edge, **{"marquee-client": f"app-{each}"}) for each in range(100)]
                return 10 <= found.count("canary") <= 55

            await eventually(divided, what="about 30 %")

            testers = {"contextName": "userId", "operator": "IN", "values": ["ann"]}
            await server.create("canary-rating_svc", rollout(100, testers))
            await becomes(edge, "canary", RATING, **edge.bearer("ann"))
            assert await release(edge, RATING, **edge.bearer("bob")) == "stable"

        # The controller is gone: the edge goes on with what it has.
        await asyncio.sleep(0.5)
        assert await release(edge, RATING, **edge.bearer("ann")) == "canary"
    await trial.stop()
