"""Which database has which users, by what the databases say."""

from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config import ConfigError
from rating_svc import shards, slot_rows
from rating_svc.registry import Life
from rating_svc.slots import NOTHING, Claim, Claims, Conflict, Division, Own, Owner, State, own, plan, slot_of

OPEN, FILLING, CLOSED = State.OPEN, State.FILLING, State.CLOSED


def says(**of: tuple[int, State]) -> Claims:
    return Claims(4, {int(slot[1:]): Claim(*claim) for slot, claim in of.items()})


def test_before_users_are_divided_the_first_database_has_all() -> None:
    division = Division([NOTHING, None, NOTHING])
    assert division.owners == [Owner(0, True, 0)]
    assert division.slot_of("ann") == 0
    assert not division.divided
    assert own(0, NOTHING, [NOTHING, None]).has(11)
    assert not own(1, NOTHING, [NOTHING, None]).has(11)


def test_a_first_database_that_was_lost_and_made_again_takes_nobody_who_is_elsewhere() -> None:
    assert not own(0, NOTHING, [says(s1=(1, OPEN))]).has(0)


@given(st.text(min_size=1), st.integers(1, 12), st.integers(1, 8))
def test_a_users_slot_follows_from_the_partition_whatever_their_number(
    user: str, total: int, times: int
) -> None:
    life = Life(1, "log", "id", total * times, None)
    assert life.partition_of(user) % total == slot_of(user, total)


def test_while_a_database_fills_users_are_read_where_they_were_and_stored_in_both() -> None:
    old, new = says(s0=(1, OPEN), s1=(1, OPEN)), says(s1=(2, FILLING))
    division = Division([old, new])
    assert division.owners[:2] == [Owner(0, True, 1), Owner(0, True, 1)]
    assert own(0, old, [new]).slots == {0, 1}
    assert own(1, new, [old]) == Own(4, frozenset({1}), frozenset({1}))


def test_between_closing_and_opening_nobody_has_the_slot() -> None:
    division = Division([says(s1=(1, CLOSED)), says(s1=(2, FILLING))])
    assert division.owners[1] == Owner(0, False, 1)
    assert not division.complete
    assert division.slots_of(0) == division.slots_of(1) == []


def test_the_later_version_counts_when_a_database_was_set_back() -> None:
    old, new = says(s0=(1, OPEN), s1=(1, OPEN)), says(s1=(2, OPEN))
    assert Division([old, new]).owners[1] == Owner(1, True, 2)
    assert own(0, old, [new]).slots == {0}
    assert own(1, new, [old]).slots == {1}
    # Whom it has not heard of, it can't know of.
    assert own(0, old, [None]).slots == {0, 1}


def test_each_slot_is_listed_with_the_database_that_has_it() -> None:
    division = Division([says(s0=(1, OPEN), s1=(1, OPEN)), says(s2=(1, OPEN))])
    assert (division.slots_of(0), division.slots_of(1)) == ([0, 1], [2])


def test_what_a_database_has_closed_hides_nothing_of_what_it_has() -> None:
    assert own(0, says(s0=(1, CLOSED), s1=(1, OPEN)), []).slots == {1}


def test_only_a_later_version_takes_a_slot_away() -> None:
    assert own(0, says(s1=(1, OPEN)), [says(s1=(1, OPEN))]).slots == {1}


def test_rows_of_slots_say_what_a_database_has() -> None:
    rows: list[Any] = [(3, 4, 7, "open")]
    assert slot_rows.claims(rows) == Claims(4, {3: Claim(7, OPEN)})
    assert slot_rows.claims([]) == NOTHING


def test_databases_of_two_divisions_are_refused() -> None:
    with pytest.raises(Conflict, match="4 and 8 slots"):
        Division([says(s0=(1, OPEN)), Claims(8, {0: Claim(1, OPEN)})])


@given(st.integers(1, 6), st.lists(st.integers(0, 5), min_size=1, max_size=48))
def test_a_plan_spreads_evenly_and_moves_no_more_than_it_must(shards: int, given: list[int]) -> None:
    owners = [owner % shards for owner in given]
    moves = plan(owners, shards)
    after = list(owners)
    for (source, to), slots in moves.items():
        for slot in slots:
            assert after[slot] == source != to
            after[slot] = to
    sizes = [after.count(shard) for shard in range(shards)]
    assert max(sizes) - min(sizes) <= 1
    surplus = sorted((owners.count(shard) for shard in range(shards)), reverse=True)
    target = sorted(sizes, reverse=True)
    assert sum(map(len, moves.values())) == sum(
        max(0, had - has) for had, has in zip(surplus, target, strict=True)
    )
    assert plan(after, shards) == {}


def test_databases_behind_the_first_ones_are_emptied() -> None:
    assert plan([0, 0, 1, 2, 3, 3], 2) == {(2, 0): [3], (3, 1): [4, 5]}


def test_from_two_to_four_each_keeps_half() -> None:
    assert plan([0] * 6 + [1] * 6, 4) == {(0, 2): [3, 4, 5], (1, 3): [9, 10, 11]}


class Database:
    """Says what it is told to say."""

    label = "primary"

    def __init__(self, *answers: list[tuple[int, int, int, str]] | Exception) -> None:
        self.answers = list(answers)

    async def fetch(self, query: str, *_: object, fresh: bool) -> list[tuple[int, int, int, str]]:
        assert fresh
        assert query == slot_rows.ALL
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def every(state: str, version: int = 1) -> list[tuple[int, int, int, str]]:
    return [(slot, 2, version, state) for slot in (0, 1)]


async def test_a_database_that_has_closed_is_read_for_a_moment_more() -> None:
    now = 100.0
    databases = [Database(every("open"), every("closed")), Database([])]
    known = shards.Shards(databases, lambda: now)  # type: ignore[arg-type]
    await known.look()
    assert known.find("ann") == 0
    await known.look()
    assert known.find("ann") == 0
    now += shards.CLOSED_S + 0.1
    await known.look()
    assert known.find("ann") is None


async def test_who_knew_of_no_division_reads_a_database_that_has_closed_for_a_moment_more() -> None:
    known = shards.Shards([Database([], every("closed")), Database([])])  # type: ignore[list-item]
    assert known.find("ann") == 0
    await known.look()
    await known.look()
    assert known.find("ann") == 0


async def test_a_slot_that_nobody_had_is_not_read_once_it_is_closed() -> None:
    user = next(name for name in ("ann", "bob", "eve", "kim") if slot_of(name, 2) == 1)
    known = shards.Shards([Database(every("open")[:1], every("closed"))])  # type: ignore[list-item]
    await known.look()
    assert known.find(user) is None
    await known.look()
    assert known.find(user) is None


async def test_who_starts_after_it_has_closed_does_not_read_it() -> None:
    known = shards.Shards([Database(every("closed")), Database(every("filling", 2))])  # type: ignore[list-item]
    await known.look()
    assert known.find("ann") is None


async def test_what_a_database_said_last_counts_while_it_is_away() -> None:
    from mesh.errors import unavailable

    gone = Database([(0, 2, 2, "open"), (1, 2, 2, "open")], unavailable("DATABASE_UNAVAILABLE", "away", 1))
    known = shards.Shards([Database(every("closed")), gone])  # type: ignore[list-item]
    for _ in range(3):
        await known.look()
        assert known.find("ann") == 1


async def test_a_release_before_knows_of_no_slots() -> None:
    known = shards.Shards([Database(asyncpg.UndefinedTableError())])  # type: ignore[list-item]
    await known.look()
    assert known.find("ann") == 0


def test_each_database_has_addresses_of_its_own_and_the_rest_in_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ = {
        "MARQUEE_RATING_SHARDS": "3",
        "MARQUEE_PG_POOL": "5",
        "MARQUEE_PG_PRIMARY": "postgresql://a/m",
        "MARQUEE_PG_REPLICAS": "postgresql://b/m",
        "MARQUEE_PG_PRIMARY_SHARD1": "postgresql://c/m",
        "MARQUEE_PG_PRIMARY_SHARD2": "postgresql://d/m",
        "MARQUEE_PG_REPLICAS_SHARD2": "postgresql://e/m,postgresql://f/m",
    }
    found = shards.configs(environ)
    assert [config.primary for config in found] == [f"postgresql://{host}/m" for host in "acd"]
    assert [config.replicas for config in found] == [
        ("postgresql://b/m",),
        (),
        ("postgresql://e/m", "postgresql://f/m"),
    ]
    assert {config.pool_size for config in found} == {5}
    assert [config.name for config in found] == ["", "shard-1", "shard-2"]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert shards.configs() == found
    del environ["MARQUEE_PG_PRIMARY_SHARD2"]
    with pytest.raises(ConfigError, match="MARQUEE_PG_PRIMARY_SHARD2"):
        shards.configs(environ)
