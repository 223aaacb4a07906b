"""What reads of ratings ask and return. No replica that hangs is waited for, or asked what must be fresh."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter

from mesh.hedge import HedgedReads
from mesh.postgres import Postgres
from rating_svc.store import EXPORT, GET, LIST, RatingStore, Row
from rating_svc.submissions import Position

START = datetime(2026, 1, 1, tzinfo=UTC)
START_US = 1_767_225_600_000_000


class Servers:
    """A replica that hangs, and a primary that is slower than a reader waits for a replica."""

    def __init__(self, primary_s: float, *rows: tuple[Any, ...]) -> None:
        self._primary_s = primary_s
        self._rows = list(rows)
        self.asked: list[str] = []
        self.queries: list[tuple[Any, ...]] = []

    async def fetch(self, *query: Any, fresh: bool = False) -> list[Any]:
        self.asked.append("primary" if fresh else "replica")
        self.queries.append(query)
        await asyncio.sleep(self._primary_s if fresh else 10)
        return self._rows

    async def fetchrow(self, *query: Any, fresh: bool = False) -> Any:
        return next(iter(await self.fetch(*query, fresh=fresh)), None)


class Named(tuple[Any, ...]):
    """A row of `GET`, which is read by name too."""

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, {"movie_id": 0, "user_id": 6}.get(key, key))


def stored(movie: int, score: int | None, after_s: int, offset: int = 0) -> tuple[Any, ...]:
    """A row as PostgreSQL returns it, first rated at START."""
    return (movie, score, START, START + timedelta(seconds=after_s, microseconds=1), 3, offset)


def row(movie: int, score: int | None, after_s: int, offset: int = 0) -> Row:
    return Row(movie, score, START_US, START_US + after_s * 1_000_000 + 1, Position(3, offset))


def store(servers: Servers) -> RatingStore:
    pg = cast(Postgres, servers)
    counter = Counter("hedged", "", registry=CollectorRegistry())
    return RatingStore(pg, HedgedReads(pg, counter, hedge_s=0.02))


async def test_a_replica_that_hangs_is_not_waited_for() -> None:
    servers = Servers(primary_s=0)
    assert await store(servers).after("ann", 0, 10, fresh=False) == []
    assert await store(servers).get("ann", 1, fresh=False) is None
    assert await store(servers).page("ann", [], None, (1, 10), 10, fresh=False) == ({}, [])
    assert servers.asked == ["replica", "primary"] * 3


async def test_where_it_must_be_fresh_no_replica_answers_however_slow_the_primary_is() -> None:
    servers = Servers(primary_s=0.2)
    assert await store(servers).after("ann", 0, 10, fresh=True) == []
    assert await store(servers).get("ann", 1, fresh=True) is None
    assert await store(servers).page("ann", [], None, (1, 10), 10, fresh=True) == ({}, [])
    assert servers.asked == ["primary"] * 3


async def test_a_rating_is_read_with_its_times_and_its_place() -> None:
    servers = Servers(0, Named((7, None, None, START, 3, 41, "ann")))
    assert await store(servers).get("ann", 7, fresh=True) == Row(7, None, None, START_US, Position(3, 41))
    assert servers.queries == [(GET, ["ann"], [7])]


async def test_an_export_goes_on_behind_a_movie() -> None:
    servers = Servers(0, stored(6, 9, 2, offset=40), stored(7, None, 1, offset=41))
    found = await store(servers).after("ann", 5, 2, fresh=True)
    assert found == [row(6, 9, 2, 40), row(7, None, 1, 41)]
    assert all(isinstance(one.update_us, int) for one in found), "no microsecond is rounded away"
    assert servers.queries == [(EXPORT, "ann", 5, 2)]


async def test_a_page_is_told_from_the_rows_that_writes_are_pending_for_and_the_last_changed_is_first() -> (
    None
):
    # In no order: those of the union's first half come before or behind the page, or between its rows.
    servers = Servers(
        0, stored(1, 5, 2), stored(4, None, 9), stored(3, 6, 2), stored(2, 7, 3), stored(5, 8, 1)
    )
    held, page = await store(servers).page("ann", [5, 4, 9], None, (2, 8), 3, fresh=True)
    assert held == {4: row(4, None, 9), 5: row(5, 8, 1)}
    assert page == [row(2, 7, 3), row(3, 6, 2), row(1, 5, 2)]
    ((query, user, pending, before, movie, *rest),) = servers.queries
    assert (query, user, pending, movie, rest) == (LIST, "ann", [5, 4, 9], 0, [2, 8, 3])
    assert before > datetime.now(UTC) + timedelta(days=365_000), "the first page begins with the last change"


async def test_a_page_goes_on_before_the_last_of_the_one_before() -> None:
    servers = Servers(0)
    assert await store(servers).page("ann", [], (START_US + 1, 17), (1, 10), 3, fresh=True) == ({}, [])
    ((_, _, pending, before, movie, *_),) = servers.queries
    assert (pending, before, movie) == ([], START + timedelta(microseconds=1), 17)
