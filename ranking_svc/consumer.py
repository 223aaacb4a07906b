"""Takes changes of ratings into the aggregates, a batch at a time.

A batch is one transaction together with how far it came in the topic, and knows
every event by its id: whatever is delivered twice counts once, and a database
that is set back reads again what it lost.
"""

from collections.abc import Callable, Sequence
from typing import Final

from mesh import clock
from mesh.kafka import (
    BatchConsumer,
    BatchReader,
    DeadLetterBox,
    DeadLetterLimit,
    DecodedRecord,
    Handler,
    KafkaConfig,
    KafkaProducer,
    Record,
)
from mesh.postgres import Connection, Postgres
from ranking_svc import metrics, topics
from ranking_svc.config import ConsumerConfig
from ranking_svc.events import rating_change
from ranking_svc.model import Change
from ranking_svc.nudges import Nudges
from ranking_svc.store import Taken, take

# What headers begin with that only a dead letter has which was sent again.
_REDRIVEN: Final = "marquee-redriven"


class Aggregates(Handler[Change, Taken]):
    """What becomes of `marquee.ratings.changed.v1`."""

    def __init__(self, nudges: Nudges) -> None:
        self._nudges = nudges

    def read(self, record: Record) -> Change:
        redriven = bool(record.headers) and any(name.startswith(_REDRIVEN) for name in record.headers)
        return rating_change(record.value, redriven=redriven)

    async def store(self, connection: Connection, entries: Sequence[DecodedRecord[Change]]) -> Taken:
        return await take(connection, [entry.value for entry in entries if entry.value is not None])

    async def stored(self, entries: Sequence[DecodedRecord[Change]], outcome: Taken) -> None:
        metrics.BATCH.observe(len(entries))
        metrics.EVENTS.labels("applied").inc(len(outcome.changes))
        metrics.EVENTS.labels("duplicate").inc(outcome.duplicates)
        now = clock.now()
        for change in outcome.changes:
            metrics.LAG.observe(now - change.time)
        if outcome.changes:
            await self._nudges.send()


Aggregator = BatchReader[Change, Taken]


def aggregator(
    consumer: Callable[[], BatchConsumer],
    queue: KafkaConfig,
    postgres: Postgres,
    producer: KafkaProducer,
    nudges: Nudges,
    config: ConsumerConfig,
    reader: str = topics.AGGREGATES_GROUP,
) -> Aggregator:
    """The consumer of `marquee.ratings.changed.v1`."""
    limit = DeadLetterLimit(config.dead_limit, window_s=config.dead_window_s)
    box = DeadLetterBox(reader, topics.DEAD_LETTERS.name, producer, postgres, limit)
    return BatchReader(reader, consumer, queue, postgres, Aggregates(nudges), box, config.batch)
