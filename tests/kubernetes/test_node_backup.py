"""The first stage's database is backed up and restored on a real node, by the document's own commands."""

import asyncio
import os
import sys
from pathlib import Path

from k8s import demo
from tests.support.documents import commands, typed
from tests.support.node_mesh import OVERLAY, NodeMesh, on_a_node

pytestmark = on_a_node()

PAGE, HEADING = "docs/operations/kubernetes.md", "Backup and restore of `early`"


def environment(mesh: NodeMesh, folder: Path) -> dict[str, str]:
    """A shell whose kubectl is set to the test's cluster."""
    program = folder / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {mesh.cluster.programs}/controlplane kubectl "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "KUBECONFIG": str(mesh.cluster.kubeconfig),
        "MARQUEE_HOME": str(mesh.home.parent),
        "MARQUEE_VENV": sys.prefix,
    }


def as_here(block: str, mesh: NodeMesh) -> str:
    """A block with what differs here from what a reader has: the stage, and the folders."""
    block = block.replace("deploy.sh early", f"deploy.sh {OVERLAY}")
    block = block.replace("$HOME/marquee-secrets", str(demo.secrets_folder(mesh.home)))
    return block.replace(".venv/bin/python", sys.executable)


async def test_a_restored_backup_gets_back_what_was_rated_since(node_mesh: NodeMesh, tmp_path: Path) -> None:
    given = environment(node_mesh, tmp_path)
    back_up, restore, verify = (as_here(block, node_mesh) for block in commands(PAGE, HEADING))
    load = node_mesh.load()
    async with load.running():
        await load.more(100)
        said = await asyncio.to_thread(typed, back_up, given, 700)
        assert ".dump, " in said
        # Scores that change, and new ones: all after the backup.
        await load.more(100)
    assert node_mesh.differing() == 0
    node_mesh.sql("TRUNCATE ranking_svc.scores")
    assert node_mesh.differing() > 0
    async with load.running():
        mark = load.mark()
        said = await asyncio.to_thread(typed, restore, given, 1500)
        assert "restore: done" in said
        await load.more(20, without_loss=True)
        load.told("a restore", mark)
    await asyncio.to_thread(
        node_mesh.becomes, lambda: asyncio.run(load.differing()) == {}, "all that was acknowledged is there"
    )
    print(typed(verify, given, 200))
