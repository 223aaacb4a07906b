"""Up to where the workers have brought the log into the database, as a replica of the service knows it.

A pending write is forgotten by the worker that stored it. A worker that dies
before can't, and what a process remembers by itself nobody tells it to forget.
Mostly that harms nothing, since the row is as late in the log as the write. But
a write that repeats an earlier request, one whose answer was lost, changes no
row: the row stays earlier, and the write would show as pending for as long as
anybody remembers it, also over what its author has rated in between.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Final, TypeAlias

from mesh.errors import MarqueeError
from mesh.kafka.event_ids import OFFSETS
from mesh.postgres import Postgres
from rating_svc.config import WORKERS
from rating_svc.registry import Registry
from rating_svc.store import STORED_UP_TO
from rating_svc.submissions import Position

log = logging.getLogger(__name__)

_LOOK_S: Final = 2.0

_Marks: TypeAlias = Mapping[tuple[int, int], int]


class Settled:
    """What was stored long enough ago for every replica of one database to have it."""

    def __init__(self, postgres: Postgres, registry: Registry, delay_s: float) -> None:
        self._postgres = postgres
        self._registry = registry
        self._delay_s = delay_s
        self._marks: _Marks = {}
        # Not old enough yet: about one for each look within the delay.
        self._coming: deque[tuple[float, _Marks]] = deque()

    def has(self, user: str, position: Position) -> bool:
        """Whether the workers have processed a submission of a user, and some time ago. False: not known."""
        partition = self._registry.partition_of(user, position.epoch)
        return partition is not None and position.offset < self._marks.get((position.epoch, partition), 0)

    async def follow(self) -> None:
        """Looks how far the workers are, forever."""
        while True:
            try:
                await self.look()
            except MarqueeError as error:
                log.debug("how far the log is stored is not known now: %s", error.message)
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Looks how far the workers are.

        Raises:
            MarqueeError: UNAVAILABLE, no database answers.
        """
        rows = await self._postgres.fetch(STORED_UP_TO, WORKERS, OFFSETS, fresh=True)
        now = time.monotonic()
        self._coming.append((now, {(row[0], row[1]): row[2] for row in rows}))
        while self._coming and self._coming[0][0] <= now - self._delay_s:
            self._marks = self._coming.popleft()[1]
