"""Users move to other databases while they rate: nothing is lost, doubled or counted twice.

The databases lie on one server here; tests/faults has a server for each.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from local.stack.layout import Stack
from mesh.errors import MarqueeError
from rating_svc import reshard
from rating_svc.config import WORKERS
from rating_svc.slots import Division, slot_of
from tests.support.spread import PARTITIONS, USERS, Spread, spread_over_four
from tests.support.waiting import eventually


@pytest.fixture
async def spread(stack: Stack) -> AsyncIterator[Spread]:
    async with spread_over_four(stack) as made:
        yield made


async def test_from_one_to_two_to_four_databases_while_ratings_come_in(spread: Spread) -> None:
    await spread.rate(2000)
    async with spread.working():
        for count in (2, 4):
            async with spread.rating():
                await spread.reshard(count)
            await spread.moved(count)
        async with spread.rating():
            await spread.reshard(4, over=1)
        await spread.moved(1)
        await spread.reshard(4, over=1)
    assert spread.told[-1] == "users are spread evenly"


async def test_a_database_opens_slots_only_with_all_that_the_one_before_had(
    spread: Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its workers are slow: else users would read older rows than a moment ago."""
    opened = 0
    original = reshard._open

    async def opens(session: Any, move: reshard.Move) -> None:
        nonlocal opened
        opened += 1
        query = "SELECT user_id, movie_id, log_epoch, log_offset FROM ratings"
        old = {row[:2]: row[2:] for row in await spread.databases[move.source].fetch(query)}
        new = {row[:2]: row[2:] for row in await session.fetch(query)}
        moving = {key for key in old if slot_of(key[0], move.total) in move.slots}
        assert moving
        assert all(old[key] <= new[key] for key in moving)
        await original(session, move)

    monkeypatch.setattr(reshard, "_open", opens)

    async def falls_behind(source: Any, target: Any, move: reshard.Move) -> None:
        """The old one is closed as soon as it has more than was copied."""

        async def is_behind() -> bool:
            slots = list(move.slots)
            places = await source.fetch(reshard._OFFSETS, WORKERS, move.total, slots)
            return await reshard._behind(target, move, places) > 0

        await eventually(is_behind, 30, 0.01)

    monkeypatch.setattr(reshard, "_caught_up", falls_behind)
    await spread.rate(1000)
    async with spread.working():
        await spread.stored()
        async with spread.rating():
            await spread.reshard(2)
    assert opened == 1


@pytest.mark.parametrize("step", ["_copy", "_caught_up", "_close", "_reached", "_open", "delete_rows"])
async def test_what_failed_half_way_goes_on_from_there(
    spread: Spread, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spread.rate(500)

    async def fails(*_: Any) -> None:
        raise RuntimeError("killed")

    async def nothing(*_: Any) -> None:
        """Who is killed does not open again what it has closed."""

    async with spread.working():
        await spread.stored()
        async with spread.rating():
            with monkeypatch.context() as patched:
                patched.setattr(reshard, step, fails)
                patched.setattr(reshard, "_reopen", nothing)
                with pytest.raises(RuntimeError, match="killed"):
                    await spread.reshard(2)
            await spread.rate(300)
        if step not in ("_reached", "_open"):
            # Rows are in two databases and count once.
            await spread.stored()
            assert await spread.totals() == spread.recount()
        await spread.reshard(2)
        await spread.moved(2)


async def test_without_workers_that_know_of_it_a_database_gets_nobody(
    spread: Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reshard, "_CATCH_UP_S", 0.5)
    await spread.rate(100)
    async with spread.working():
        await spread.stored()
    # Nobody stores now, and the first database is ahead of what was copied.
    original = reshard._copy

    async def copy(source: Any, target: Any, move: Any) -> int:
        rows = await original(source, target, move)
        await source.execute("UPDATE kafka_offsets SET next_offset = next_offset + 1")
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(reshard, "_copy", copy)
        with pytest.raises(reshard.CantReshard, match="MARQUEE_RATING_SHARDS"):
            await spread.reshard(2)
    assert await spread.scores() == spread.wanted


async def test_who_does_not_know_a_users_database_says_so_instead_of_showing_old_rows(spread: Spread) -> None:
    await spread.rate(300)
    async with spread.working():
        await spread.reshard(2)
        await spread.stored()
    alone = spread.shards(1)
    await alone.look()
    division = spread.shards(2)
    await division.look()
    for user in USERS:
        if division.of(user) == 0:
            assert alone.of(user) == 0
        else:
            with pytest.raises(MarqueeError) as refused:
                alone.of(user)
            assert refused.value.reason == "DATABASE_UNAVAILABLE"


async def test_a_database_that_was_set_back_to_before_the_move_is_not_believed(spread: Spread) -> None:
    await spread.rate(300)
    async with spread.working():
        await spread.reshard(2)
        await spread.stored()
        moved = (await _division(spread)).slots_of(1)
        # As a backup from before says: it has these slots, and rows of them.
        async with spread.databases[0].write() as connection:
            await connection.executemany(
                "INSERT INTO slots VALUES ($1, $2, 1, 'open')", [(slot, PARTITIONS) for slot in moved]
            )
            await connection.execute(
                "INSERT INTO ratings SELECT $1, 1, 1, now(), now(), 1, 0", _user_of(moved)
            )
        assert (await _division(spread)).slots_of(1) == moved
        assert await spread.totals() == spread.recount()
        await spread.rate(300)
        await spread.stored()
        await spread.reshard(2)
        await spread.moved(2)


async def _division(spread: Spread) -> Division:
    shards = spread.shards()
    await shards.look()
    return shards.division


def _user_of(slots: Sequence[int]) -> str:
    return next(user for user in map("other-{}".format, range(1000)) if slot_of(user, PARTITIONS) in slots)
