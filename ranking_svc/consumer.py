"""Takes changes of ratings into the aggregates, a batch at a time.

A batch is one transaction that knows every event by its id, and its offsets are
committed after it: whatever is delivered twice counts once.
"""

import logging
import time
from typing import Final

import asyncpg

from mesh.errors import MarqueeError
from mesh.kafka import BatchConsumer, Record
from ranking_svc import metrics
from ranking_svc.deadletters import DeadLetters, TooManyError
from ranking_svc.events import PoisonError, rating_change
from ranking_svc.model import Change
from ranking_svc.nudges import Nudges
from ranking_svc.store import Store, Taken

log = logging.getLogger(__name__)

_WAIT_S: Final = 1.0
_FIRST_BACKOFF_S: Final = 0.2
_MAX_BACKOFF_S: Final = 5.0

# What a statement raises because of the data it is given.
_UNFIT: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class Aggregator:
    """The consumer of `marquee.ratings.changed.v1`."""

    def __init__(
        self, consumer: BatchConsumer, store: Store, dead: DeadLetters, nudges: Nudges, batch: int
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._dead = dead
        self._nudges = nudges
        self._batch = batch
        self._stopped: str | None = None

    async def running(self) -> None:
        """Raises if it has stopped because of too many dead letters. For health."""
        if self._stopped:
            raise RuntimeError(self._stopped)

    async def run(self) -> None:
        """Reads for ever; ends only if there are too many dead letters.

        It leaves the group then: an older release that can read the messages goes on.
        """
        try:
            while True:
                if batch := await self._consumer.next_batch(self._batch, _WAIT_S):
                    await self._deal_with(batch)
        except TooManyError as error:
            self._stopped = str(error)
            metrics.STOPPED.set(1)
            log.critical("stopped: %s", error)
            await self._consumer.close()
        except Exception:
            await self._consumer.rewind()
            raise

    async def _deal_with(self, batch: list[Record]) -> None:
        """Takes a batch; while something is away, holds it and tries again."""
        backoff = _FIRST_BACKOFF_S
        changes: list[tuple[Record, Change]] = []
        unread = list(reversed(batch))
        while True:
            try:
                while unread:
                    try:
                        changes.append((unread[-1], rating_change(unread[-1].value)))
                    except PoisonError as error:
                        await self._dead.put(unread[-1], error)
                    unread.pop()
                await self._apply(changes)
                break
            except MarqueeError as error:
                log.warning("holding %d changes: %s", len(batch), error.message)
                if not await self._consumer.wait(backoff):
                    log.info("the held changes have gone to another consumer")
                    return
                backoff = min(backoff * 2, _MAX_BACKOFF_S)
        await self._consumer.commit()

    async def _apply(self, changes: list[tuple[Record, Change]]) -> None:
        if not changes:
            return
        try:
            taken = await self._store.apply([change for _, change in changes])
        except _UNFIT as error:
            # Halving finds the one that the database refuses and takes the others.
            if len(changes) == 1:
                await self._dead.put(changes[0][0], PoisonError("REFUSED_BY_DATABASE", str(error)))
                return
            middle = len(changes) // 2
            await self._apply(changes[:middle])
            await self._apply(changes[middle:])
            return
        self._count(taken)
        if taken.changes:
            await self._nudges.send()

    def _count(self, taken: Taken) -> None:
        metrics.BATCH.observe(len(taken.changes) + taken.duplicates)
        metrics.EVENTS.labels("applied").inc(len(taken.changes))
        metrics.EVENTS.labels("duplicate").inc(taken.duplicates)
        now = time.time()
        for change in taken.changes:
            metrics.LAG.observe(now - change.time)
