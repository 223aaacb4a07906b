"""Moves users to other databases while ratings are written and read.

The log is what makes it simple: a database that has rows as of some moment,
and the offsets of that moment, comes to all that follows by reading on. So slots
move like this, and whatever fails, the command goes on from there when it is run
again:

1. one snapshot of the slots' rows and offsets is copied into the new database,
   in one transaction that ends with the slots `filling` there;
2. the workers store what follows in both databases. Both make the same events,
   with the same ids, which follow from the places in the log: readers count
   each once;
3. once the new database is where the old one is, the old one closes the slots.
   Its offsets are set aside in that transaction, so that a batch under way is
   stored before it or not at all;
4. the new one reaches that place, and opens the slots: fronts read there within
   a second. Until then they read the old one, as they would read a replica that
   is a moment behind: what was written since shows as pending;
5. the old rows are deleted.

Nobody waits for anything meanwhile, neither writes nor reads.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import asyncpg

from mesh import dial
from mesh.kafka import KafkaConfig, identify_all, topic_names
from mesh.postgres import GONE, Connection, PostgresConfig, away
from rating_svc import lives, slot_rows
from rating_svc.config import WORKERS
from rating_svc.shards import CLOSED_S, Shards
from rating_svc.slot_copies import TABLES, copy_rows, delete_rows
from rating_svc.slots import Claim, Claims, Division, State, plan

_CATCH_UP_S: Final = 60.0
"""How long the new database may come no nearer to the old one."""
_FENCE_S: Final = 10.0
_LOOK_S: Final = 0.05
_GRACE_S: Final = 3 * CLOSED_S
"""After how long no front reads a database any more that has given users away."""


_OFFSETS: Final = """
SELECT reader, topic_id, partition, topic, first_offset, next_offset, fingerprint, moved_at
FROM kafka_offsets WHERE reader = $1 AND partition % $2 = ANY ($3::int[])"""
_PUT_OFFSETS: Final = """
INSERT INTO kafka_offsets
    (reader, topic_id, partition, topic, first_offset, next_offset, fingerprint, moved_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_RENAME_OFFSETS: Final = """
UPDATE kafka_offsets SET reader = $4 WHERE reader = $1 AND partition % $2 = ANY ($3::int[])"""
_SET_ASIDE: Final = f"{WORKERS} until the slot was closed"
"""As whose a database keeps its offsets that count no more."""
_TURN: Final = "SELECT pg_try_advisory_lock(hashtext('resharding of ' || current_user))"
_FORGET_OFFSETS: Final = """
DELETE FROM kafka_offsets WHERE reader = ANY ($1::text[]) AND partition % $2 = ANY ($3::int[])"""

Tell: TypeAlias = Callable[[str], object]


class CantReshard(Exception):
    """Users can't be moved so; the message says what to do."""


@dataclass(frozen=True)
class Move:
    """Slots on their way from one database to another."""

    source: int
    target: int
    slots: Sequence[int]
    total: int

    @property
    def text(self) -> str:
        named = ", ".join(map(str, sorted(self.slots)))
        return f"slots {named} from shard {self.source} to shard {self.target}"


async def reshard(
    shards: Shards,
    configs: Sequence[PostgresConfig],
    kafka: KafkaConfig,
    tell: Tell,
    *,
    over: int = 0,
    only_plan: bool = False,
    grace_s: float = _GRACE_S,
) -> None:
    """Spreads users evenly over all databases, or `over` the first ones. Safe to repeat after it failed.

    Raises:
        CantReshard: it can't be done so.
        MarqueeError: UNAVAILABLE, a database is away.
    """
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(_session(config)) for config in configs]
        if not await sessions[0].fetchval(_TURN):
            raise CantReshard("somebody else moves users now")
        claims = await _read(sessions)
        if len(sessions) == 1 and not claims[0].total:
            tell("there is one database: MARQUEE_RATING_SHARDS says how many there are")
            return
        if not any(each.total for each in claims):
            total = await _slots(shards, kafka)
            if total < (over or len(sessions)):
                raise CantReshard(
                    f"the log's partitions make {total} slots, too few for so many databases: let it grow "
                    "first, by `rating_svc grow`"
                )
            claims[0] = Claims(total, {slot: Claim(1, State.OPEN) for slot in range(total)})
            if not only_plan:
                await _divide(sessions[0], total)
                tell(f"users are divided into {total} slots")
        if only_plan:
            moves = _moves(claims, over or len(sessions))
            tell("\n".join(f"would move {move.text}" for move in moves) or "users are spread evenly")
            return
        await _clean(sessions, tell, grace_s)
        while moves := _moves(await _read(sessions), over or len(sessions)):
            for move in moves:
                await _move(sessions, move, tell)
            await _clean(sessions, tell, grace_s)
        tell("users are spread evenly")


async def _slots(shards: Shards, kafka: KafkaConfig) -> int:
    """Into how many slots users may be divided: every topic of the log has a multiple of that."""
    every = await lives.known(shards, fresh=True)
    names = sorted({life.topic for life in every} & set(await topic_names(kafka)))
    ids = {identity.id for identity in (await identify_all(kafka, names)).values()} if names else set()
    known = [life for life in every if life.topic_id in ids]
    if not known:
        raise CantReshard("no service has registered the log yet: start the mesh first")
    return math.gcd(*(life.partitions for life in known))


async def _divide(session: Connection, total: int) -> None:
    """Says in the first database that it has all slots."""
    async with session.transaction():
        await slot_rows.lock(session)
        await slot_rows.put(session, range(total), total, 1, State.OPEN)


def _moves(claims: Sequence[Claims], over: int) -> list[Move]:
    """What is left to do: first what was begun, then what spreads users evenly."""
    division = Division(claims)
    begun: dict[tuple[int, int], list[int]] = {}
    owners: list[int] = []
    for slot, owner in enumerate(division.owners):
        if owner is None:
            raise CantReshard(f"no database has slot {slot}: one was lost, or is not configured here")
        owners.append(owner.shard)
        for target, each in enumerate(claims):
            if (claim := each.of.get(slot)) and claim.state is State.FILLING:
                begun.setdefault((owner.shard, target), []).append(slot)
                owners[slot] = target
    found = begun.copy()
    for way, slots in plan(owners, over).items():
        fresh = [slot for slot in slots if all(slot not in moving for moving in begun.values())]
        if fresh:
            found.setdefault(way, []).extend(fresh)
    return [Move(*way, sorted(slots), division.total) for way, slots in sorted(found.items())]


async def _move(sessions: Sequence[Connection], move: Move, tell: Tell) -> None:
    source, target = sessions[move.source], sessions[move.target]
    began = time.monotonic()
    tell(f"moving {move.text}")
    filling = {s for s, claim in (await slot_rows.read(target)).of.items() if claim.state is State.FILLING}
    missing = [slot for slot in move.slots if slot not in filling]
    if missing:
        rows = await _copy(source, target, Move(move.source, move.target, missing, move.total))
        tell(f"  copied {rows:,} rows in {time.monotonic() - began:.1f} s")
    await _caught_up(source, target, move)
    closed_at = time.monotonic()
    ends = await _close(source, move)
    try:
        async with asyncio.timeout(_FENCE_S):
            await _reached(target, move, ends)
    except BaseException as error:
        await _reopen(source, move)
        if isinstance(error, TimeoutError):
            raise CantReshard(
                f"shard {move.target} did not reach the place where shard {move.source} was closed within "
                f"{_FENCE_S:g} s, and that one is open again: see whether the workers run, and try again"
            ) from error
        raise
    await _open(target, move)
    now = time.monotonic()
    tell(f"  moved in {now - began:.1f} s; they were closed for {now - closed_at:.2f} s of it")


async def _copy(source: Connection, target: Connection, move: Move) -> int:
    """Copies rows and offsets of one moment; returns how many rows."""
    total, slots = move.total, list(move.slots)
    async with source.transaction(isolation="repeatable_read", readonly=True), target.transaction():
        offsets = await source.fetch(_OFFSETS, WORKERS, total, slots)
        claims = await slot_rows.read(source)
        version = max(claims.of[slot].version for slot in slots) + 1
        known = await lives.in_transaction(source)
        rows = 0
        for table in TABLES:
            rows += await copy_rows(source, target, table, slots, total)
        # These locks come last, since the target's own workers wait for them.
        await lives.copy(target, known)
        await slot_rows.lock(target)
        await target.executemany(_PUT_OFFSETS, [tuple(row) for row in offsets])
        await slot_rows.put(target, slots, total, version, State.FILLING)
        return rows


async def _caught_up(source: Connection, target: Connection, move: Move) -> None:
    """Waits until the target is where the source is."""
    nearest, since = math.inf, time.monotonic()
    while True:
        places = await source.fetch(_OFFSETS, WORKERS, move.total, list(move.slots))
        behind = await _behind(target, move, places)
        if not behind:
            return
        if behind < nearest:
            nearest, since = behind, time.monotonic()
        if time.monotonic() - since > _CATCH_UP_S:
            raise CantReshard(
                f"nobody stores into shard {move.target}: it is {behind} messages behind. All of rating_svc "
                "must run with the same MARQUEE_RATING_SHARDS; then run this again, it goes on from here"
            )
        await asyncio.sleep(_LOOK_S)


async def _reached(target: Connection, move: Move, places: Sequence[asyncpg.Record]) -> None:
    while True:
        if not await _behind(target, move, places):
            return
        await asyncio.sleep(_LOOK_S)


async def _behind(target: Connection, move: Move, places: Sequence[asyncpg.Record]) -> int:
    """How many messages of the log the target has not stored, up to some places."""
    rows = await target.fetch(_OFFSETS, WORKERS, move.total, list(move.slots))
    stored = {(row["topic_id"], row["partition"]): row["next_offset"] for row in rows}
    left = (row["next_offset"] - stored.get((row["topic_id"], row["partition"]), 0) for row in places)
    return sum(max(0, each) for each in left)


async def _close(source: Connection, move: Move) -> list[asyncpg.Record]:
    """Nothing more is stored of these slots; returns up to where it was."""
    slots = list(move.slots)
    async with source.transaction():
        await _say(source, move, State.CLOSED)
        await source.execute(_RENAME_OFFSETS, WORKERS, move.total, slots, _SET_ASIDE)
        # Also those that were set aside before this command was run again.
        return await source.fetch(_OFFSETS, _SET_ASIDE, move.total, slots)


async def _reopen(source: Connection, move: Move) -> None:
    async with source.transaction():
        await _say(source, move, State.OPEN)
        await source.execute(_RENAME_OFFSETS, _SET_ASIDE, move.total, list(move.slots), WORKERS)


async def _open(target: Connection, move: Move) -> None:
    async with target.transaction():
        await _say(target, move, State.OPEN)


async def _say(session: Connection, move: Move, state: State) -> None:
    """Says of the slots what is done with them now, within a transaction."""
    claims = await slot_rows.lock(session)
    version = max(claims.of[slot].version for slot in move.slots)
    await slot_rows.put(session, move.slots, move.total, version, state)


async def _clean(sessions: Sequence[Connection], tell: Tell, grace_s: float) -> None:
    """Deletes the rows of slots that are open elsewhere."""
    claims = await _read(sessions)
    owners = Division(claims).owners
    left = {
        shard: [
            slot
            for slot, claim in each.of.items()
            if claim.state is not State.FILLING
            and (owner := owners[slot])
            and owner.open
            and owner.shard != shard
        ]
        for shard, each in enumerate(claims)
    }
    if not any(left.values()):
        return
    await asyncio.sleep(grace_s)
    for shard, slots in left.items():
        if slots:
            session, total = sessions[shard], claims[shard].total
            deleted = sum([await delete_rows(session, table, slots, total) for table in TABLES])
            async with session.transaction():
                await slot_rows.lock(session)
                await session.execute(_FORGET_OFFSETS, [WORKERS, _SET_ASIDE], total, slots)
                await slot_rows.forget(session, slots)
            tell(f"deleted {deleted:,} rows of shard {shard} that have moved")


async def _read(sessions: Sequence[Connection]) -> list[Claims]:
    return [await slot_rows.read(session) for session in sessions]


@contextlib.asynccontextmanager
async def _session(config: PostgresConfig) -> AsyncIterator[Connection]:
    """A session that may think for longer than a service's: copying takes as long as it takes."""
    try:
        session = await dial.connect(config.own_session, timeout=config.timeout_s)
    except GONE as error:
        raise away(error) from error
    try:
        await session.execute(
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
            "SET idle_session_timeout = 0; SET lock_timeout = '10s'"
        )
        yield session  # type: ignore[misc]
    except GONE as error:
        raise away(error) from error
    finally:
        await session.close(timeout=5)
