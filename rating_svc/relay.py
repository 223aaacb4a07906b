"""The relay: hands committed changes from the outbox to the topic, at least once.

A row is deleted only after the log has it, so that a change that commits late,
with a lower number than others that went before, is found all the same. It is
the reader's inbox that counts each event once.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
from marquee.ratings.v1.events_pb2 import RatingChanged

from mesh import clock, names
from mesh.errors import MarqueeError
from mesh.kafka import KafkaProducer
from mesh.postgres import GONE
from rating_svc import metrics, topics
from rating_svc.config import RelayConfig
from rating_svc.store import OUTBOX_CHANNEL, Outbox, OutboxEvent

log = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1

_PAUSE_S: Final = 0.5

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


class Relay:
    """One of several relays, of which one at a time has its turn."""

    def __init__(self, connect: Connect, producer: KafkaProducer, config: RelayConfig) -> None:
        self._connect = connect
        self._producer = producer
        self._config = config

    async def run(self) -> None:
        """Waits for its turn, then hands changes on; again and again, forever."""
        while True:
            try:
                await self._session()
            except (*GONE, asyncpg.PostgresError) as error:
                log.warning("the relay lost the database: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _session(self) -> None:
        connection = await self._connect()
        try:
            outbox = Outbox(connection)
            await outbox.limit_silence(self._config.takeover_s)
            while not await outbox.take_turn():  # noqa: ASYNC110 - what is awaited is in the database
                await asyncio.sleep(self._config.poll_s * random.uniform(0.5, 1.0))  # noqa: S311
            log.info("this relay has its turn")
            metrics.RELAY_ACTIVE.set(1)
            await self._hand_on(connection, outbox)
        finally:
            metrics.RELAY_ACTIVE.set(0)
            with contextlib.suppress(*GONE, asyncpg.PostgresError):
                await connection.close(timeout=1)

    async def _hand_on(self, connection: "asyncpg.Connection[asyncpg.Record]", outbox: Outbox) -> None:
        woken = asyncio.Event()
        await connection.add_listener(OUTBOX_CHANNEL, lambda *_: woken.set())
        while True:
            woken.clear()
            events = await outbox.read(self._config.batch)
            published = await self._publish(events)
            if published:
                await outbox.delete(published)
            if len(published) < len(events):
                await asyncio.sleep(_PAUSE_S)
            elif len(events) < self._config.batch:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), self._config.poll_s)

    async def _publish(self, events: Sequence[OutboxEvent]) -> list[int]:
        """Publishes events, in their order; returns the numbers of those that the log has."""
        ends = await asyncio.gather(*(self._send(event) for event in events), return_exceptions=True)
        published = []
        now = clock.now_us()
        for event, end in zip(events, ends, strict=True):
            if end is None:
                published.append(event.number)
                metrics.PUBLISHED_AFTER.observe(max(0, now - event.submit_us) / 1e6)
            elif not isinstance(end, MarqueeError):
                raise end
        metrics.PUBLISHED.inc(len(published))
        return published

    async def _send(self, event: OutboxEvent) -> None:
        await self._producer.send(topics.CHANGED, names.movie_name(event.movie).encode(), encode(event))


def encode(event: OutboxEvent) -> bytes:
    """The event for the topic."""
    return RatingChanged(
        schema_version=SCHEMA_VERSION,
        event_id=event.event_id,
        movie=names.movie_name(event.movie),
        old_score=event.old_score,
        new_score=event.new_score,
        submit_time=clock.timestamp(event.submit_us),
    ).SerializeToString()
