"""Workers come and go with what waits in Kafka, on a real node: KEDA itself, by our own ScaledObject."""

import asyncio
import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from k8s import manifests
from k8s.cluster import keda
from tests.support.node_mesh import NodeMesh, on_a_node

pytestmark = on_a_node(also_missing=keda.missing())

LOCK_S = 600
"""The longest that workers are held up; the lock is released before."""
FEWER = {"pollingInterval": 5, "minReplicaCount": 1, "maxReplicaCount": 2}
WORKER = "rating-worker"


def scaled_object() -> dict[str, Any]:
    """The stage `growth`'s, for the broker of `early`, and with fewer messages a pod."""
    [found] = [
        each for each in manifests.render("growth") if manifests.name(each) == f"ScaledObject/{WORKER}"
    ]
    made = copy.deepcopy(found)
    made["spec"].update(FEWER)
    [trigger] = made["spec"]["triggers"]
    trigger["metadata"].update(bootstrapServers="kafka:9092", lagThreshold="50")
    # The broker of `early` knows no certificates.
    del trigger["metadata"]["tls"], trigger["authenticationRef"]
    return made


class Timeline:
    """What the autoscaler sees and does, printed when it changes."""

    def __init__(self, mesh: NodeMesh) -> None:
        self._mesh = mesh
        self._began = time.monotonic()
        self._last = ""
        self.most_lag = 0.0

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until something is so, and shows meanwhile what changes."""

        def looked() -> bool:
            self._look()
            return condition()

        self._mesh.becomes(looked, what, timeout_s=600)
        self._say(what)

    def lag(self) -> float | None:
        """How many messages wait for the workers, as KEDA tells the autoscaler."""
        for each in self._mesh.get("hpa")["items"]:
            if each["metadata"]["name"] == f"keda-hpa-{WORKER}":
                [metric] = each["status"].get("currentMetrics") or [{}]
                value = metric.get("external", {}).get("current", {}).get("averageValue")
                if value is not None:
                    a_pod = float(value[:-1]) / 1000 if value.endswith("m") else float(value)
                    return a_pod * int(each["status"]["currentReplicas"])
        return None

    def _look(self) -> None:
        lag, pods = self.lag(), len(self._mesh.pods(WORKER))
        self.most_lag = max(self.most_lag, lag or 0)
        shown = f"{'unknown' if lag is None else format(lag, '.0f')} messages wait, {pods} pods"
        if shown != self._last:
            self._say(shown)
            self._last = shown

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s: {what}", flush=True)


@pytest.fixture
def scaling(node_mesh: NodeMesh) -> Iterator[NodeMesh]:
    try:
        keda.start(node_mesh.place.node, "marquee")
        node_mesh.cluster.apply(json.dumps(scaled_object()), "--namespace=marquee")
        yield node_mesh
        node_mesh.kubectl("delete", "scaledobject", WORKER, "--timeout=50s")
    finally:
        keda.stop(node_mesh.place.node)
        node_mesh.scale(1, WORKER)


async def held_up(mesh: NodeMesh, released: asyncio.Event) -> None:
    """Lets nobody write ratings until released: workers wait, as for a database that can't keep up."""
    lock = "LOCK TABLE rating_svc.ratings IN SHARE MODE"
    hold = asyncio.create_task(
        asyncio.to_thread(mesh.sql, f"BEGIN; {lock}; SELECT pg_sleep({LOCK_S})", timeout_s=LOCK_S + 60)
    )
    await released.wait()
    ended = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE%'"
    )
    await asyncio.to_thread(mesh.sql, ended)
    await asyncio.gather(hold, return_exceptions=True)


async def test_a_worker_comes_with_the_lag_and_goes_with_it(scaling: NodeMesh) -> None:
    load, released, timeline = scaling.load(), asyncio.Event(), Timeline(scaling)

    def has(count: int) -> Callable[[], bool]:
        return lambda: scaling.settled(WORKER, count)

    await asyncio.to_thread(timeline.until, lambda: timeline.lag() is not None, "KEDA knows the lag")
    await asyncio.to_thread(timeline.until, has(1), "1 pod is ready")
    async with load.running():
        await load.more(20, without_loss=True)
        holding = asyncio.create_task(held_up(scaling, released))
        try:
            await asyncio.to_thread(timeline.until, has(2), "2 pods are ready")
        finally:
            released.set()
            await holding
        await load.more(20)
        load.told("workers that stood still", (0, 0))
    # It was the lag, and not what KEDA falls back to when it can't read it.
    assert timeline.most_lag > 50
    await asyncio.to_thread(timeline.until, lambda: timeline.lag() == 0, "nothing waits")
    await asyncio.to_thread(timeline.until, has(1), "1 pod is left")
    assert await load.differing() == {}
    assert scaling.differing() == 0
