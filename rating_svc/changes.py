"""What the relay tells the others: each change of a rating, once it is committed.

Readers count each event id once and only add up (`ranking_svc`), so neither a
second copy nor the order of events matters: a plain producer does, which costs
a third of one with transactions (docs/decisions/0015).
"""

from typing import Final

import asyncpg
from marquee.ratings.v1.events_pb2 import RatingChanged

from mesh import clock, names
from mesh.outbox import Message, Meters, Outbox, OutboxWatch
from mesh.postgres import Postgres
from rating_svc import metrics, topics
from rating_svc.store import OUTBOX_CHANNEL, to_us

SCHEMA_VERSION: Final = 1


def meters(shard: int) -> Meters:
    """What the relay of a database measures."""
    return Meters(metrics.RELAY_ACTIVE.labels(shard), metrics.PUBLISHED, metrics.PUBLISHED_AFTER)


def outbox() -> Outbox:
    """The outbox of changes."""
    return Outbox(
        topics.CHANGED,
        OUTBOX_CHANNEL,
        "number",
        "event_id, movie_id, old_score, new_score, submit_time, trace",
        "submit_time",
        _message,
    )


def watch(postgres: Postgres, shard: int = 0, interval_s: float = 5.0) -> OutboxWatch:
    """Tells how many changes wait in a database, and for how long."""
    pending, age = metrics.OUTBOX_PENDING.labels(shard), metrics.OUTBOX_AGE.labels(shard)
    return OutboxWatch(outbox(), postgres, pending, age, interval_s)


def _message(row: asyncpg.Record) -> Message:
    number, event_id, movie_id, old_score, new_score, submit_time, trace = row
    movie, submit_us = names.movie_name(movie_id), to_us(submit_time)
    event = RatingChanged(
        schema_version=SCHEMA_VERSION,
        event_id=event_id,
        movie=movie,
        old_score=old_score,
        new_score=new_score,
        submit_time=clock.timestamp(submit_us),
    )
    return Message(number, movie.encode(), event.SerializeToString(), submit_us, trace or "")
