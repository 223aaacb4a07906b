"""The outbox relay: tells Kafka what has changed, after it has been stored and not before.

One relay at a time has the turn (`mesh.turns`), and only the last that began can
write (`mesh.kafka.fenced`): one that was frozen and comes back must not put an
older event of a movie behind a newer one, which would stand there forever.
Nothing is locked in the database while Kafka is waited for.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from mesh.errors import MarqueeError
from mesh.kafka import Topic
from mesh.kafka.fenced import FencedProducer
from mesh.names import movie_name
from mesh.turns import Held, Turns
from movie_svc import metrics
from movie_svc.storing.store import Store

log = logging.getLogger(__name__)

CHANGED: Final = Topic("marquee.movies.changed.v1", partitions=6, compacted=True)
TRANSACTIONS: Final = "movie_svc-relay"
"""The name under which relays write, one after the other."""

_BATCH: Final = 500
_IDLE_S: Final = 0.5
_REST_S: Final = 2.0
_MEASURE_S: Final = 5.0


class Relay:
    """Sends the events of the outbox; of all replicas one at a time does."""

    def __init__(self, store: Store, turns: Turns, begin: Callable[[], Awaitable[FencedProducer]]) -> None:
        """`begin` begins to write, and thereby ends all who did before."""
        self._store = store
        self._turns = turns
        self._begin = begin
        self._measure_at = 0.0

    async def run(self) -> None:
        """Sends whenever it has the turn, forever."""
        while True:
            try:
                async with self._turns.take("relay") as held:
                    if held is not None:
                        await self._lead(held)
            except MarqueeError as error:
                log.info("the outbox waits: %s", error)
            await self._measure()
            await asyncio.sleep(_REST_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _lead(self, held: Held) -> None:
        producer = await self._begin()
        try:
            while True:
                await held.confirm()
                sent = await self._step(producer)
                await self._measure()
                if sent < _BATCH:
                    await held.rest(_IDLE_S)
        finally:
            await producer.close()

    async def _step(self, producer: FencedProducer) -> int:
        """Sends the oldest events; returns how many.

        What was sent and could not be deleted is sent again, in the same order:
        readers take the last event of a movie, so that it changes nothing.

        Raises:
            MarqueeError: UNAVAILABLE if the database or Kafka is away, or another relay has begun.
        """
        events = await self._store.outbox(_BATCH)
        if not events:
            return 0
        # The last event of a movie stands for those before it.
        latest = {number: event for _, number, event in events}
        await producer.send(
            CHANGED.name, [(movie_name(number).encode(), event) for number, event in latest.items()]
        )
        await self._store.sent([event_id for event_id, _, _ in events])
        return len(events)

    async def _measure(self) -> None:
        if time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + _MEASURE_S
        with contextlib.suppress(MarqueeError):
            waiting, age_s = await self._store.outbox_state()
            metrics.OUTBOX.set(waiting)
            metrics.OUTBOX_AGE.set(age_s)
