"""What the tests of Kubernetes stand on, started once a session from what is built."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8s.cluster import fake_nodes
from k8s.cluster.control_plane import Cluster
from tests.support.node_mesh import NodeMesh

KEPT = "MARQUEE_TEST_NODE"
"""A folder: the mesh there is used, and left running; `k8s.demo --home DIR/k8s down` removes it."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real control plane with nodes in three zones that kwok plays; all of it is stopped at the end."""
    made = Cluster(tmp_path_factory.mktemp("kubernetes"))
    try:
        made.up()
        fake_nodes.start(made)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def node_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeMesh]:
    """The mesh on a real node; all of it is removed at the end."""
    kept = os.environ.get(KEPT)
    made = NodeMesh((Path(kept) if kept else tmp_path_factory.mktemp("mesh")) / "k8s")
    try:
        made.up()
        yield made
    finally:
        if not kept:
            made.down()
