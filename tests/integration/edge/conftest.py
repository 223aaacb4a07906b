"""Fixtures for the tests of the edge."""

import pytest

from tests.support.edge.mesh import Edge


@pytest.fixture
def answers_may_be_kept(edge: Edge) -> None:
    """The edge's service lets every answer be kept for a minute, and versions it."""
    edge.service.headers[:] = [("cache-control", "public, max-age=60"), ("etag", '"v1"')]
