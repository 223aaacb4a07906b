"""Which database has which users.

A user's slot is `crc32(user) % total`, as librdkafka chooses partitions. The
log's partitions are a multiple of the slots, so that a partition belongs to one
slot and its submissions to one database. Each database says itself which slots
it has (`rating_svc.slot_rows`); where two say so, since one of them was set back
to an older state, the later version counts.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """What a database does with a slot."""

    OPEN = "open"
    """Its users are stored and read here."""
    FILLING = "filling"
    """They are stored here too, and read where they were until now."""
    CLOSED = "closed"
    """They have moved away; rows may be left."""


class Claim(NamedTuple):
    """What a database says of one slot."""

    version: int
    state: State


@dataclass(frozen=True)
class Claims:
    """What a database says of itself."""

    total: int = 0
    """Of how many slots; 0: users were never divided."""
    of: Mapping[int, Claim] = field(default_factory=dict)


NOTHING: Final = Claims()


class Owner(NamedTuple):
    """Who has a slot."""

    shard: int
    open: bool
    """Whether it takes writes; else it has closed, and nobody has opened after it yet."""
    version: int


class Conflict(Exception):
    """Databases don't belong together."""


class Division:
    """Who has which slot, by what the databases say.

    Args:
        claims: what each database says, in their order; None: not known.

    Raises:
        Conflict: they divide users in different ways.
    """

    def __init__(self, claims: Sequence[Claims | None]) -> None:
        totals = {each.total for each in claims if each is not None and each.total}
        if len(totals) > 1:
            raise Conflict(f"the databases divide users into {' and '.join(map(str, sorted(totals)))} slots")
        self.divided: Final = bool(totals)
        self.total: Final = totals.pop() if totals else 1
        self.owners: Final[Sequence[Owner | None]] = (
            [self._owner(claims, slot) for slot in range(self.total)] if self.divided else [Owner(0, True, 0)]
        )

    @staticmethod
    def _owner(claims: Sequence[Claims | None], slot: int) -> Owner | None:
        found = [
            (claim.version, claim.state is State.OPEN, shard)
            for shard, each in enumerate(claims)
            if each is not None and (claim := each.of.get(slot)) and claim.state is not State.FILLING
        ]
        if not found:
            return None
        version, is_open, shard = max(found)
        return Owner(shard, is_open, version)

    @property
    def complete(self) -> bool:
        """Whether each slot is open somewhere."""
        return all(owner is not None and owner.open for owner in self.owners)

    def slot_of(self, user: str) -> int:
        """A user's slot."""
        return slot_of(user, self.total)

    def slots_of(self, shard: int) -> list[int]:
        """The slots that are open in a database."""
        return [s for s, owner in enumerate(self.owners) if owner and owner.shard == shard and owner.open]


def slot_of(user: str, total: int) -> int:
    """A user's slot, of that many."""
    return zlib.crc32(user.encode()) % total


class Own(NamedTuple):
    """What a worker stores into one database."""

    total: int
    slots: frozenset[int]
    filling: frozenset[int] = frozenset()
    """Those of them that are read elsewhere."""

    def has(self, partition: int) -> bool:
        """Whether a partition of the log is stored there."""
        return partition % self.total in self.slots


ALL: Final = Own(1, frozenset((0,)))


def own(shard: int, claims: Claims, others: Iterable[Claims | None]) -> Own:
    """What is stored into a database, by what it says and by what the others were last heard to say."""
    heard = [each for each in others if each is not None and each.total]
    if not claims.total:
        return ALL if shard == 0 and not heard else Own(1, frozenset())
    slots, filling = set(), set()
    for slot, claim in claims.of.items():
        later = any(
            claim.version < other.of[slot].version and other.of[slot].state is State.OPEN
            for other in heard
            if slot in other.of
        )
        if claim.state is State.CLOSED or later:
            continue
        slots.add(slot)
        if claim.state is State.FILLING:
            filling.add(slot)
    return Own(claims.total, frozenset(slots), frozenset(filling))


def plan(owners: Sequence[int], shards: int) -> dict[tuple[int, int], list[int]]:
    """The fewest moves after which of the first `shards` databases none has over one slot more than another.

    Args:
        owners: of each slot, which database has it. Those behind the first ones are emptied.

    Returns: slots by (from, to).
    """
    every = range(max(shards, *(owner + 1 for owner in owners)))
    had = [[slot for slot, owner in enumerate(owners) if owner == shard] for shard in every]
    least, over = divmod(len(owners), shards)
    # Those that have most keep one more.
    largest = sorted(range(shards), key=lambda shard: (-len(had[shard]), shard))
    size = {shard: least + (rank < over) for rank, shard in enumerate(largest)}
    spare = [(shard, slot) for shard in every for slot in had[shard][size.get(shard, 0) :]]
    moves: dict[tuple[int, int], list[int]] = {}
    for to in range(shards):
        for _ in range(size[to] - len(had[to])):
            source, slot = spare.pop(0)
            moves.setdefault((source, to), []).append(slot)
    return moves
