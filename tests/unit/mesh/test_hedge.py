"""Reads go to the primary too when a replica is slow; the first good answer counts."""

import asyncio
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, Counter

from mesh.errors import MarqueeError, unavailable
from mesh.hedge import HedgedReads
from mesh.postgres import Postgres


class Servers:
    """Answers after a time, or fails; remembers who was asked."""

    def __init__(self, replica_s: float, primary_s: float, *, failing: tuple[str, ...] = ()) -> None:
        self._times = {"replica": replica_s, "primary": primary_s}
        self._failing = failing
        self.asked: list[str] = []

    async def fetchval(self, query: str, *args: Any, fresh: bool = False) -> str:
        server = "primary" if fresh else "replica"
        self.asked.append(server)
        await asyncio.sleep(self._times[server])
        if server in self._failing:
            raise unavailable("DATABASE_UNAVAILABLE", server, 1)
        return server


def hedged(servers: Servers, hedge_s: float = 0.05) -> HedgedReads:
    return HedgedReads(
        cast(Postgres, servers), Counter("hedged", "", registry=CollectorRegistry()), hedge_s=hedge_s
    )


async def ask(servers: Servers, hedge_s: float = 0.05) -> str:
    found: str = await hedged(servers, hedge_s).fetchval("SELECT 1")
    return found


async def test_a_quick_replica_is_asked_alone() -> None:
    servers = Servers(0, 0)
    assert await ask(servers, hedge_s=30) == "replica"
    assert servers.asked == ["replica"]


async def test_the_primary_stands_in_for_a_replica_that_hangs() -> None:
    assert await ask(Servers(3600, 0)) == "primary"


async def test_a_replica_that_hangs_is_waited_for_once() -> None:
    servers = Servers(3600, 0)
    reads = hedged(servers)
    for _ in range(10):
        await reads.fetchval("SELECT 1")
    assert servers.asked == ["replica", *["primary"] * 10]


async def test_a_replica_that_is_only_slow_may_still_be_first() -> None:
    assert await ask(Servers(0.1, 3600)) == "replica"


async def test_a_failure_leaves_the_answer_to_the_other() -> None:
    assert await ask(Servers(0.2, 0, failing=("primary",))) == "replica"
    assert await ask(Servers(1, 1, failing=("replica",))) == "primary"


async def test_two_failures_are_one() -> None:
    with pytest.raises(MarqueeError):
        await ask(Servers(0.2, 0, failing=("replica", "primary")))
    with pytest.raises(MarqueeError):
        await ask(Servers(0, 0, failing=("replica",)))
