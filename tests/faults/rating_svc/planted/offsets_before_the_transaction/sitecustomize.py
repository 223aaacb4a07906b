"""A planted bug: the worker writes offsets down in a transaction of their own, before that of the data."""

import asyncio
import sys
from typing import Any

if sys.orig_argv[-2:] == ["rating_svc", "worker"]:
    from mesh.kafka.batches import BatchReader

    async def wrong(self: BatchReader[Any, Any], tracker: Any, portion: Any) -> None:
        records = [entry.record for entry in portion]
        good = [entry for entry in portion if entry.poison is None]
        async with self._postgres.write() as connection:
            await self._offsets.advance(connection, tracker.moves(records))
        tracker.moved(records)
        # So long that a fault is likely to come in between: the fewer batches there are, the fewer chances.
        await asyncio.sleep(0.1)
        async with self._postgres.write() as connection:
            outcome = await self._handler.store(connection, good)
        await self._handler.stored(good, outcome)

    BatchReader._transact = wrong  # type: ignore[method-assign]
