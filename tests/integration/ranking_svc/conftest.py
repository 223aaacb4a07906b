"""Fixtures for the tests of ranking_svc."""

from collections.abc import AsyncIterator

import pytest
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

from local.stack.layout import Stack
from mesh import channel
from mesh.channel import ChannelConfig
from ranking_svc import reconcile
from ranking_svc.reconcile import Reconciler
from tests.support.rankings import Place, history, place_in
from tests.support.recounts import Totals
from tests.support.rpc import served


@pytest.fixture
async def place(stack: Stack) -> AsyncIterator[Place]:
    """The real stores, with ranking_svc's schema empty."""
    async with place_in(stack) as made:
        yield made


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconciliation looks again at once."""
    monkeypatch.setattr(reconcile, "_PAUSE_S", 0.01)


@pytest.fixture
async def totals(place: Place) -> Totals:
    """A recount that agrees with the aggregates."""
    changes, expected = history(400)
    await place.store.apply(changes)
    return Totals(expected)


@pytest.fixture
async def reconciler(place: Place, totals: Totals) -> AsyncIterator[Reconciler]:
    """It asks that recount, over a real connection."""
    service = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
    async with served(service, totals) as address, channel.connect(address, ChannelConfig()) as opened:
        yield Reconciler(place.store, internal_pb2_grpc.RatingTotalsServiceStub(opened), place.counted)
