"""Fixtures for all tests: the real parts that Marquee stands on, started once a session."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.local import movielens, progress, supervisor
from mesh.local import state as states
from mesh.local.stack import Home, Stack

_WITH_US = ("setpriv", "--pdeathsig=SIGTERM", "--")

# New releases are delivered in seconds instead of half an hour.
_HASTE = {
    "MARQUEE_EDGE_INTERVAL_S": "0.2",
    "MARQUEE_CANARY_BAKE_S": "1",
    "MARQUEE_CANARY_MIN_CALLS": "20",
}


@contextmanager
def running(
    home: Home,
    only: Sequence[str],
    instances: dict[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """A stack in a folder of its own and on free ports; the kernel ends it should pytest be killed."""
    home.make()
    with home.log("supervisor").open("ab") as output:
        daemon = subprocess.Popen(
            [*_WITH_US, *supervisor.arguments(home, list(only), instances or {}, edge_port=0)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        progress.wait(home, daemon)
        state = states.live(home)
        assert state is not None
        yield state.stack(home)
    finally:
        daemon.terminate()
        daemon.wait(60)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL primary and replica, Redis, Kafka and the OMDb simulator.

    `mesh.local.services.stores(stack, "rating_svc")` gives a service's environment.
    """
    with running(_home(tmp_path_factory, "infra"), ["infra"]) as started:
        yield started


@pytest.fixture(scope="session")
def mesh_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole mesh behind Envoy. OMDb answers with what it once said, where that is at hand."""
    answers = movielens.omdb_answers()
    # For this stack alone: the other one's tests know what the simulator's own catalogue holds.
    environment = {**_HASTE, **({"MARQUEE_OMDB_ANSWERS": str(answers)} if answers else {})}
    with running(_home(tmp_path_factory, "mesh"), [], environment=environment) as started:
        yield started


def _home(factory: pytest.TempPathFactory, name: str) -> Home:
    return Home(Path(factory.mktemp(name)))
