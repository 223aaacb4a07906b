"""The outbox relay: tells Kafka what has changed, after it has been stored and not before."""

import asyncio
import contextlib
import logging
import time
from typing import Final

from mesh.errors import MarqueeError
from mesh.kafka import KafkaProducer, Topic
from mesh.names import movie_name
from movie_svc import metrics
from movie_svc.store import Store

log = logging.getLogger(__name__)

CHANGED: Final = Topic("marquee.movies.changed.v1", partitions=6, compacted=True)

_BATCH: Final = 500
_IDLE_S: Final = 0.5
_REST_S: Final = 2.0
_MEASURE_S: Final = 5.0


class Relay:
    """Sends the events of the outbox; of all replicas one at a time does."""

    def __init__(self, store: Store, producer: KafkaProducer) -> None:
        self._store = store
        self._producer = producer
        self._measure_at = 0.0

    async def run(self) -> None:
        while True:
            try:
                sent = await self.step()
                pause = 0.0 if sent == _BATCH else _IDLE_S
            except MarqueeError as error:
                log.info("the outbox waits: %s", error)
                pause = _REST_S
            await self._measure()
            await asyncio.sleep(pause)

    async def step(self) -> int:
        """Sends the oldest events; gives how many.

        What was sent and could not be deleted is sent again: readers take the
        last event of a movie, so that a repeated one changes nothing.

        Raises:
            MarqueeError: UNAVAILABLE if the database or Kafka is away.
        """
        async with self._store.outbox(_BATCH) as events:
            # The last event of a movie stands for those before it.
            latest = dict(events)
            await asyncio.gather(
                *(
                    self._producer.send(CHANGED.name, movie_name(number).encode(), event)
                    for number, event in latest.items()
                )
            )
        return len(events)

    async def _measure(self) -> None:
        if time.monotonic() < self._measure_at:
            return
        self._measure_at = time.monotonic() + _MEASURE_S
        with contextlib.suppress(MarqueeError):
            metrics.OUTBOX.set(await self._store.outbox_size())
