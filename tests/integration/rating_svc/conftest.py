"""Fixtures for the tests of rating_svc."""

import signal
from collections.abc import AsyncIterator

import grpc
import pytest

from local.stack.layout import Stack
from tests.support.ratings import Service, User, unrated
from tests.support.ratings_rig import Rig, rig


@pytest.fixture(scope="module")
async def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """rating_svc in four processes, for all tests of a module."""
    made = Service(stack, tmp_path_factory.mktemp("ratings"))
    # One first: it creates the schema and the topics.
    async with made.replicas[0], made.replicas[1], made.worker, made.relay:
        made.channels = [grpc.aio.insecure_channel(replica.address) for replica in made.replicas]
        yield made
        for channel in made.channels:
            await channel.close()


@pytest.fixture
def movie() -> int:
    """A movie that nobody has rated."""
    return next(unrated)


@pytest.fixture
def pair(service: Service) -> tuple[User, User]:
    """A new user, at the one replica and at the other."""
    return service.user()


@pytest.fixture
async def nothing_stored(service: Service) -> AsyncIterator[None]:
    """The worker stands still: what is submitted stays in the log."""
    service.worker.signal(signal.SIGSTOP)
    yield
    service.worker.signal(signal.SIGCONT)


@pytest.fixture
async def bench(stack: Stack) -> AsyncIterator[Rig]:
    """A log and a database of the test's own, and workers between them."""
    async with rig(stack) as made:
        yield made
