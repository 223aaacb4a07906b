"""New releases on a real node, under load: no client loses a call."""

import asyncio

import pytest

from tests.support.node_mesh import BEHIND, SERVERS, NodeMesh, on_a_node
from tests.support.steady import while_it_runs

pytestmark = on_a_node()


@pytest.mark.parametrize("name", [*SERVERS, *BEHIND])
async def test_a_new_release_costs_no_call(node_mesh: NodeMesh, name: str) -> None:
    """With one pod of each, as `early` has it: the new one is there before the old one goes."""
    load = node_mesh.load()
    async with load.running():
        mark = await while_it_runs(load, lambda: node_mesh.release(name, "next"))
        await load.more(20)
        lost = load.told(f"a release of {name}", mark)
    assert lost == []
    assert await load.differing() == {}


async def test_all_of_the_mesh_released_at_once_costs_no_call(node_mesh: NodeMesh) -> None:
    """As deploy.sh does it: all Deployments at the same moment."""
    load = node_mesh.load()

    async def all_of_it() -> None:
        names = (*SERVERS, *BEHIND)
        await asyncio.gather(*(asyncio.to_thread(node_mesh.release, name, "after") for name in names))

    async with load.running():
        await load.more(20, without_loss=True)
        mark = load.mark()
        await all_of_it()
        await load.more(20)
        lost = load.told("a release of all at once", mark)
    assert lost == []
    assert await load.differing() == {}
    assert node_mesh.differing() == 0
