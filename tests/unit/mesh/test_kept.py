"""Connections that are kept out of their pool between statements."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest

from mesh.kept import Kept

SIZE = 8


class Connection:
    """Is closed when a test says so; or taken away by the pool, which notices that first."""

    def __init__(self) -> None:
        self.closed = False
        self.taken_away = False

    def is_closed(self) -> bool:
        if self.taken_away:
            raise asyncpg.InterfaceError("connection has been released back to the pool")
        return self.closed


class Pool:
    """Lends new connections; remembers which are out."""

    def __init__(self) -> None:
        self.lent = 0
        self.out: set[Connection] = set()

    async def acquire(self) -> Connection:
        self.lent += 1
        connection = Connection()
        self.out.add(connection)
        return connection

    async def release(self, connection: Connection) -> None:
        self.out.remove(connection)


def kept(pool: Pool) -> Kept:
    return Kept(cast("Any", pool), SIZE)


async def same(connection: Any) -> Any:
    return connection


async def test_statements_that_follow_one_another_share_a_connection() -> None:
    pool = Pool()
    made = kept(pool)
    assert len({await made.use(same) for _ in range(5)}) == 1
    assert (pool.lent, len(pool.out), made.free) == (1, 1, 1)


async def test_a_pool_keeps_most_of_its_connections_for_transactions() -> None:
    pool = Pool()
    made = kept(pool)
    gate = asyncio.Event()

    async def wait(_connection: Any) -> None:
        await gate.wait()

    uses = [asyncio.create_task(made.use(wait)) for _ in range(SIZE)]
    await asyncio.sleep(0)
    assert len(pool.out) == SIZE
    gate.set()
    await asyncio.gather(*uses)
    assert len(pool.out) == made.free == SIZE // 4


@pytest.mark.parametrize("how", ["closed", "taken_away"])
async def test_what_the_server_has_closed_is_not_used_again(how: str) -> None:
    pool = Pool()
    made = kept(pool)
    first = await made.use(same)
    setattr(first, how, True)
    assert await made.use(same) is not first
    assert first not in pool.out


async def test_a_connection_that_failed_is_the_pools_to_set_right() -> None:
    pool = Pool()
    made = kept(pool)

    async def fail(_connection: Any) -> None:
        raise asyncpg.QueryCanceledError("too long")

    with pytest.raises(asyncpg.QueryCanceledError):
        await made.use(fail)
    assert not pool.out
    assert made.free == 0


async def test_one_whose_caller_left_is_too() -> None:
    pool = Pool()
    made = kept(pool)
    use = asyncio.create_task(made.use(lambda _: asyncio.Event().wait()))
    await asyncio.sleep(0)
    use.cancel()
    await asyncio.wait((use,))
    assert not pool.out


async def test_those_that_nobody_uses_go_back() -> None:
    pool = Pool()
    made = kept(pool)
    await made.use(same)
    await made.give_back(idle_s=60)
    assert made.free == 1
    await made.give_back()
    assert (made.free, len(pool.out)) == (0, 0)


async def test_a_connection_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.kept._USES", 3)
    pool = Pool()
    made = kept(pool)
    assert len({await made.use(same) for _ in range(3)}) == 1
    assert not pool.out


async def test_after_the_end_none_stays_out() -> None:
    pool = Pool()
    made = kept(pool)
    gate = asyncio.Event()
    await made.use(same)
    use = asyncio.create_task(made.use(lambda _: gate.wait()))
    await asyncio.sleep(0)
    await made.close()
    gate.set()
    await use
    assert not pool.out
