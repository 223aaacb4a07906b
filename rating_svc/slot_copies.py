"""Rows of users in slots: copied to another database, and deleted where their users no longer are."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from mesh.postgres import Connection, affected
from rating_svc.slot_rows import of_slots

TABLES: Final = ("ratings", "seen_requests")
"""What belongs to a user."""
_PORTION: Final = 5000


async def copy_rows(
    source: Connection, target: Connection, table: str, slots: Collection[int], total: int
) -> int:
    """Copies rows as a transaction sees them into another one; returns how many."""
    chunks: asyncio.Queue[bytes | None] = asyncio.Queue(16)
    rows = of_slots(f"ARRAY[{', '.join(map(str, slots))}]", str(total))
    query = f"SELECT * FROM {table} WHERE {rows}"  # noqa: S608

    async def read() -> None:
        await source.copy_from_query(query, output=chunks.put, format="binary")
        await chunks.put(None)

    async def arriving() -> AsyncIterator[bytes]:
        while (chunk := await chunks.get()) is not None:
            yield chunk

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            writing = group.create_task(target.copy_to_table(table, source=arriving(), format="binary"))
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return affected(writing.result())


async def delete_rows(session: Connection, table: str, slots: Sequence[int], total: int) -> int:
    """Deletes rows of slots, walking along the key: what was deleted before is not looked at again."""
    deleted, after = 0, ""
    while True:
        until = await session.fetchval(
            f"SELECT max(user_id) FROM (SELECT user_id FROM {table} WHERE user_id > $1 "  # noqa: S608
            "ORDER BY user_id LIMIT $2) AS portion",
            after,
            _PORTION,
        )
        if until is None:
            return deleted
        done = await session.execute(
            f"DELETE FROM {table} WHERE user_id > $1 AND user_id <= $2 "  # noqa: S608
            f"AND {of_slots('$3::int[]', '$4::int')}",
            after,
            until,
            list(slots),
            total,
        )
        deleted += affected(done)
        after = until
