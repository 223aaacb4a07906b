"""Fixtures for the tests of ranking_svc."""

from collections.abc import AsyncIterator

import pytest
from marquee.rankings.v1 import rankings_pb2_grpc

from tests.unit.ranking_svc.charts import CONFIG, Here, serving


@pytest.fixture
def here() -> Here:
    """Charts of a few movies, which nobody watches."""
    return Here()


@pytest.fixture
async def stub(here: Here) -> AsyncIterator["rankings_pb2_grpc.RankingServiceAsyncStub"]:
    async with serving(here, CONFIG) as made:
        yield made
