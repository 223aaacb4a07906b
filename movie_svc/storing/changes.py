"""What the relay tells the others: each movie as it is now, once that is stored.

Readers take the last event of a movie. So only the relay that began last can
send (`mesh.kafka.fenced`): one that was frozen and comes back must not put an
older event behind a newer one, which would stand there forever.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from mesh.kafka import KafkaConfig, Topic
from mesh.kafka.fenced import FencedProducer
from mesh.names import movie_name
from mesh.outbox import Message, Meters, Outbox, OutboxWatch
from mesh.postgres import Postgres
from movie_svc import metrics
from movie_svc.storing.store import OUTBOX_CHANNEL

CHANGED: Final = Topic("marquee.movies.changed.v1", partitions=6, compacted=True)
BATCH: Final = 500
METERS: Final = Meters(metrics.RELAY_ACTIVE, metrics.PUBLISHED)

TRANSACTIONS: Final = "movie_svc-relay"
"""The name under which relays send, one after the other."""


def _message(row: asyncpg.Record) -> Message:
    number, movie_id, event = row
    return Message(number, movie_name(movie_id).encode(), event)


OUTBOX: Final = Outbox(
    CHANGED.name, OUTBOX_CHANNEL, "id", "movie_id, event", "queued_at", _message, newest_only=True
)


@contextlib.asynccontextmanager
async def begin(config: KafkaConfig) -> AsyncIterator[FencedProducer]:
    """Begins to send, which ends all who sent before.

    Raises:
        MarqueeError: UNAVAILABLE `QUEUE_UNAVAILABLE`.
    """
    producer = await FencedProducer.begin(config, TRANSACTIONS)
    try:
        yield producer
    finally:
        await producer.close()


def watch(postgres: Postgres) -> OutboxWatch:
    """Tells how many events wait, and for how long."""
    return OutboxWatch(OUTBOX, postgres, metrics.OUTBOX, metrics.OUTBOX_AGE)
