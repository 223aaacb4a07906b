"""Fixtures for the integration tests: an edge in front of services that answer as a test tells them to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.limits import DEFAULT_FILE
from tests.support.edge.mesh import Edge, running_edge


@pytest.fixture(scope="module")
def limits_file() -> Path:
    """The limits of a module's edge; a module may have its own."""
    return DEFAULT_FILE


@pytest.fixture(scope="module")
async def shared_edge(limits_file: Path) -> AsyncIterator[Edge]:
    """One edge for all tests of a module."""
    async with running_edge(limits_file=limits_file) as edge:
        yield edge


@pytest.fixture
def edge(shared_edge: Edge) -> Edge:
    """The module's edge, its service as it was at first."""
    shared_edge.service.handlers.clear()
    shared_edge.service.headers.clear()
    shared_edge.service.calls.clear()
    return shared_edge
