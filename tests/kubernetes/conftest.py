"""A real control plane with nodes in three zones, started once a session from what is built."""

from collections.abc import Iterator

import pytest

from k8s.cluster import fake_nodes
from k8s.cluster.control_plane import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster; everything of it is stopped at the end."""
    made = Cluster(tmp_path_factory.mktemp("kubernetes"))
    try:
        made.up()
        fake_nodes.start(made)
        yield made
    finally:
        made.down()
