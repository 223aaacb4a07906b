"""Reads of ratings wait for no replica that hangs, and where they must be fresh none answers them."""

import asyncio
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter

from mesh.hedge import HedgedReads
from mesh.postgres import Postgres
from rating_svc.store import RatingStore


class Servers:
    """A replica that hangs, and a primary that is slower than a reader waits for a replica."""

    def __init__(self, primary_s: float) -> None:
        self._primary_s = primary_s
        self.asked: list[str] = []

    async def fetch(self, _query: str, *_args: Any, fresh: bool = False) -> list[Any]:
        self.asked.append("primary" if fresh else "replica")
        await asyncio.sleep(self._primary_s if fresh else 3600)
        return []


def store(servers: Servers) -> RatingStore:
    pg = cast(Postgres, servers)
    counter = Counter("hedged", "", registry=CollectorRegistry())
    return RatingStore(pg, HedgedReads(pg, counter, hedge_s=0.02))


async def test_a_replica_that_hangs_is_not_waited_for() -> None:
    servers = Servers(primary_s=0)
    assert await store(servers).after("ann", 0, 10, fresh=False) == []
    assert servers.asked == ["replica", "primary"]


async def test_where_it_must_be_fresh_no_replica_answers_however_slow_the_primary_is() -> None:
    servers = Servers(primary_s=0.2)
    assert await store(servers).after("ann", 0, 10, fresh=True) == []
    assert servers.asked == ["primary"]
