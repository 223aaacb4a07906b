"""Deletes rows that are too old, a portion in each transaction, so that nobody waits long for their locks.

Several processes may do it at once: what one deletes the others don't find.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus_client import Counter

from mesh.errors import MarqueeError
from mesh.postgres import Postgres, affected

log = logging.getLogger(__name__)

_PAUSE_S: Final = 0.05


@dataclass(frozen=True)
class Aged:
    """Rows that are kept for a while.

    All texts are SQL of this code's own, never of a caller.
    """

    table: str
    key: str
    """The columns that name a row."""
    since: str
    """The column with the time from which their age counts; an index on it makes pruning cheap."""
    kept_s: float | Callable[[], Awaitable[float]]
    """For how long they are kept, in seconds; infinite: none is deleted. It may have to be asked for, and
    raise UNAVAILABLE."""
    only: str = "true"
    """The condition of those rows; the table's others are not touched."""

    @property
    def statement(self) -> str:
        """Deletes up to $2 rows older than $1, the oldest first."""
        return f"""
            DELETE FROM {self.table} WHERE {self.only} AND ({self.key}) IN (
                SELECT {self.key} FROM {self.table}
                WHERE {self.only} AND {self.since} < now() - $1::interval
                ORDER BY {self.since} LIMIT $2)"""  # noqa: S608


class Pruner:
    """Deletes rows of one service that are too old."""

    def __init__(
        self,
        postgres: Postgres,
        aged: Sequence[Aged],
        pruned: Counter,
        interval_s: float,
        portion: int = 5000,
    ) -> None:
        """`pruned` counts rows by `table`; `portion` is how many a transaction deletes at most."""
        self._postgres = postgres
        self._aged = aged
        self._pruned = pruned
        self._interval_s = interval_s
        self._portion = portion

    async def run(self) -> None:
        """Prunes now and then, forever."""
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.5, 1.5))  # noqa: S311
            for aged in self._aged:
                try:
                    await self._prune(aged)
                except MarqueeError as error:
                    log.warning("%s is not pruned now: %s", aged.table, error)

    async def prune(self) -> None:
        """Deletes all that is too old.

        Raises:
            MarqueeError: UNAVAILABLE if the primary is away, or it can't be known how old that is.
        """
        for aged in self._aged:
            await self._prune(aged)

    async def _prune(self, aged: Aged) -> None:
        kept_s = await aged.kept_s() if callable(aged.kept_s) else aged.kept_s
        if math.isinf(kept_s):
            return
        while True:
            async with self._postgres.write() as connection:
                done = await connection.execute(aged.statement, timedelta(seconds=kept_s), self._portion)
            deleted = affected(done)
            self._pruned.labels(aged.table).inc(deleted)
            if deleted < self._portion:
                return
            await asyncio.sleep(_PAUSE_S)
