"""Fixtures for all tests: the real parts that Marquee stands on, started once a session."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from local.commands import movielens
from local.stack.layout import Home, Stack
from tests.support.stacks import running

# A busy machine is no failure: no example has a time limit, and neither has making them.
hypothesis.settings.register_profile(
    "marquee", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# For `make test-mutations`: each run tries the same few examples, and makes none smaller for people to read.
hypothesis.settings.register_profile(
    "mutations",
    hypothesis.settings.get_profile("marquee"),
    derandomize=True,
    max_examples=40,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("marquee")

# New releases are delivered in seconds instead of half an hour.
_HASTE = {
    "MARQUEE_EDGE_INTERVAL_S": "0.2",
    "MARQUEE_CANARY_BAKE_S": "1",
    "MARQUEE_CANARY_MIN_CALLS": "20",
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL primary and replica, Redis, Kafka and the OMDb simulator.

    `local.servers.services.stores(stack, "rating_svc")` returns a service's environment.
    """
    with running(_home(tmp_path_factory, "infra"), ["infra"]) as started:
        yield started


@pytest.fixture(scope="session")
def mesh_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole mesh behind Envoy. OMDb answers with what it once said, where that is there."""
    answers = movielens.omdb_answers()
    # For this stack alone: the other one's tests know what the simulator's own catalogue holds.
    environment = {**_HASTE, **({"MARQUEE_OMDB_ANSWERS": str(answers)} if answers else {})}
    with running(_home(tmp_path_factory, "mesh"), [], environment=environment) as started:
        yield started


def _home(factory: pytest.TempPathFactory, name: str) -> Home:
    return Home(Path(factory.mktemp(name)))
