"""A release on trial on a real node: a flag sends the traffic there and back, and no client loses a call."""

import asyncio
import json
from typing import Any

import httpx

from tests.support.edge.trials import rollout
from tests.support.node_mesh import NodeMesh, on_a_node
from tests.support.steady import Load, while_it_runs

pytestmark = on_a_node()

RELEASE = "x-marquee-release"


def set_flags(mesh: NodeMesh, *features: dict[str, Any]) -> None:
    """Writes the operators' flags, which the kubelet brings to the edge's controller."""
    flags = json.dumps({"version": 2, "features": features})
    mesh.kubectl("patch", "configmap", "operators", "--patch", json.dumps({"data": {"flags.json": flags}}))


def flag(*strategies: dict[str, Any], on: bool = True) -> dict[str, Any]:
    return {"name": "canary-movie_svc", "type": "release", "enabled": on, "strategies": list(strategies)}


def releases(load: Load, *users: str) -> set[str]:
    """Which releases answer these users now; '' is nobody in particular."""
    found = set()
    with httpx.Client(base_url=load.url, timeout=15) as client:
        for user in users:
            headers = {"cache-control": "no-cache", **(load.bearer(user) if user else {})}
            answer = client.get(f"/v1/movies/{load.movies[0]}", headers=headers)
            assert answer.status_code == 200, answer.text
            found.add(answer.headers.get(RELEASE, "stable"))
    return found


def calls_of(mesh: NodeMesh, name: str) -> float:
    """How many calls the pods of a workload say that they got."""
    count = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
    page = mesh.execute(f"deployment/{name}", name, "python", "-c", count)
    lines = [line for line in page.splitlines() if line.startswith("grpc_server_started_total")]
    return sum(float(line.split()[-1]) for line in lines if "MovieService" in line)


async def test_a_flag_moves_the_traffic_to_a_new_release_and_back(node_mesh: NodeMesh) -> None:
    load = node_mesh.load()
    name = "movie-svc-canary"

    def trial() -> None:
        node_mesh.scale(1, name)
        assert calls_of(node_mesh, name) == 0
        testers = {"contextName": "userId", "operator": "IN", "values": ["steady-1"]}
        set_flags(node_mesh, flag(rollout(100, testers)))
        took = node_mesh.becomes(lambda: releases(load, "steady-1") == {"canary"}, "a tester gets it")
        print(f"from the flag to the traffic: {took:.0f} s", flush=True)
        assert releases(load, "steady-2", "") == {"stable"}
        set_flags(node_mesh, flag(rollout(100)))
        node_mesh.becomes(lambda: releases(load, "steady-1", "steady-2", "") == {"canary"}, "all get it")
        assert calls_of(node_mesh, name) > 0
        set_flags(node_mesh, flag(rollout(100), on=False))
        node_mesh.becomes(lambda: releases(load, "steady-1", "") == {"stable"}, "nobody gets it")
        node_mesh.scale(0, name)

    async with load.running():
        try:
            mark = await while_it_runs(load, trial)
        finally:
            await asyncio.to_thread(set_flags, node_mesh)
        await load.more(20)
        lost = load.told("a release on trial", mark)
    assert lost == []
