"""Which slots a database has: the SQL of `slots`."""

from collections.abc import Collection
from typing import Final

import asyncpg

from mesh.postgres import Connection
from rating_svc.slots import NOTHING, Claim, Claims, State

ALL: Final = "SELECT slot, total, version, state FROM slots ORDER BY slot"

# Who asks which slots are his begins rows of offsets for them in the same transaction. Nobody may give a slot
# away meanwhile: they would begin again from the start.
_SHARE: Final = "SELECT pg_advisory_xact_lock_shared(hashtext('slots of ' || current_user))"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('slots of ' || current_user))"
_SET: Final = """
INSERT INTO slots (slot, total, version, state) SELECT slot, $2, $3, $4 FROM unnest($1::int[]) AS s (slot)
ON CONFLICT (slot) DO UPDATE SET version = excluded.version, state = excluded.state"""
_FORGET: Final = "DELETE FROM slots WHERE slot = ANY ($1::int[]) AND state = 'closed'"


def of_slots(slots: str, total: str) -> str:
    """The condition for rows of users in slots; both are SQL of this code's own."""
    return f"crc32(convert_to(user_id, 'UTF8')) % {total} = ANY ({slots})"


def claims(rows: list[asyncpg.Record]) -> Claims:
    """What the rows of `ALL` say."""
    if not rows:
        return NOTHING
    return Claims(rows[0][1], {row[0]: Claim(row[2], State(row[3])) for row in rows})


async def read(connection: Connection) -> Claims:
    """What the database says."""
    return claims(await connection.fetch(ALL))


async def read_for_now(connection: Connection) -> Claims:
    """What the database says, and will say for as long as the transaction lasts."""
    await connection.execute(_SHARE)
    return await read(connection)


async def lock(connection: Connection) -> Claims:
    """Keeps all others from asking until the transaction ends; returns what the database says."""
    await connection.execute(_LOCK)
    return await read(connection)


async def put(connection: Connection, slots: Collection[int], total: int, version: int, state: State) -> None:
    """Says something else of slots, under `lock`."""
    await connection.execute(_SET, list(slots), total, version, state.value)


async def forget(connection: Connection, slots: Collection[int]) -> None:
    """Says nothing more of slots that were closed, under `lock`."""
    await connection.execute(_FORGET, list(slots))
