"""The worker: brings the log into the database, a batch in one transaction with its offsets.

A batch goes through `SubmissionHandler` from top to bottom; `mesh.kafka.batches`
calls it. `read` decodes each submission. `store` gives each its place in the
order, drops those that had taken effect before, collapses the others to the
steps that each rating takes, and applies those. `stored` counts, once it is
committed.

What is read again, for whatever reason, changes nothing: identities of
submissions are remembered for longer than the log holds any copy of them.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

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
    Place,
    Record,
    TopicIdentity,
)
from mesh.kafka.event_ids import event_id
from mesh.kafka.retention import Retention
from mesh.postgres import Connection, Postgres
from rating_svc import (
    collapse,
    dead_letters,
    lives,
    metrics,
    slot_rows,
    slots,
    store,
    submissions,
    topics,
)
from rating_svc.cache import Settling
from rating_svc.collapse import Arrival, Step
from rating_svc.config import WORKERS, WorkerConfig
from rating_svc.registry import Registry
from rating_svc.shards import Shards
from rating_svc.submissions import Submission

log = logging.getLogger(__name__)

_STORED: Final = metrics.SUBMISSIONS.labels("stored")
_DUPLICATE: Final = metrics.SUBMISSIONS.labels("duplicate")
_SUPERSEDED: Final = metrics.SUBMISSIONS.labels("superseded")
_STALE: Final = metrics.SUBMISSIONS.labels("stale")


class BatchOutcome(NamedTuple):
    """What a transaction made of its submissions."""

    arrivals: Sequence[Arrival]
    known: int
    """Identities that had taken effect before."""
    steps: Sequence[Step]
    stored: store.Applied


class SubmissionHandler(Handler[Submission | None, BatchOutcome]):
    """What is done with submissions."""

    def __init__(
        self,
        registry: Registry,
        settling: Settling,
        retention: Retention,
        reader: str,
        shards: Shards | None = None,
        shard: int = 0,
    ) -> None:
        """`shard` is the number of the database that it stores into, among `shards`."""
        self._registry = registry
        self._settling = settling
        self._retention = retention
        self._reader = reader
        self._shards = shards
        self._shard = shard
        self._first = shards.first if shards is not None and shard else None
        self._own = slots.ALL

    def read(self, record: Record) -> Submission | None:
        if not record.value and submissions.PROBE in record.headers:
            return None
        return submissions.decode(record.value)

    async def store(
        self, connection: Connection, entries: Sequence[DecodedRecord[Submission | None]]
    ) -> BatchOutcome:
        arrivals = self._arrivals(entries)
        identities = collapse.identities(arrivals)
        known: set[collapse.Identity] = set()
        if identities:
            known = await store.remember_requests(connection, identities, self._retention.refresh_s)
        steps = collapse.collapse(arrivals, known)
        stored = await store.apply(connection, steps) if steps else store.Applied(0, 0)
        return BatchOutcome(arrivals, len(arrivals) - len(identities) + len(known), steps, stored)

    def _arrivals(self, entries: Sequence[DecodedRecord[Submission | None]]) -> list[Arrival]:
        found = []
        starts: dict[Place, tuple[int, int]] = {}
        for entry in entries:
            if entry.value is None:
                continue
            start = starts.get(entry.place)
            if start is None:
                epoch = self._registry.epoch(entry.place)
                start = starts[entry.place] = epoch, event_id(epoch, entry.place.partition, 0)
            position = dead_letters.position_of(entry.record, start[0])
            # The id is of the place where it stands, not of the order: a redriven letter has its own.
            event = start[1] + entry.record.offset
            found.append(collapse.arrival(position, event, entry.value, entry.trace))
        return found

    async def stored(
        self, _entries: Sequence[DecodedRecord[Submission | None]], outcome: BatchOutcome
    ) -> None:
        last = [step for step in outcome.steps if step.last]
        metrics.BATCH.observe(len(outcome.arrivals))
        _STORED.inc(outcome.stored.applied)
        _STALE.inc(len(last) - outcome.stored.applied)
        _SUPERSEDED.inc(len(outcome.arrivals) - outcome.known - len(last))
        _DUPLICATE.inc(outcome.known)
        metrics.CHANGES.inc(outcome.stored.changed)
        now = clock.now_us()
        for step in last:
            metrics.STORED_AFTER.observe(max(0, now - step.submit_us) / 1e6)
        total, _, filling = self._own
        for arrival in outcome.arrivals:
            if filling and slots.slot_of(arrival.submission.user, total) in filling:
                continue  # readers don't have it from here
            self._settling.add(arrival.submission.user, arrival.submission.movie, arrival.position)

    def letter_headers(self, entry: DecodedRecord[Submission | None]) -> Mapping[str, str]:
        epoch = self._registry.epoch(entry.place)
        return dead_letters.headers_of(dead_letters.position_of(entry.record, epoch))

    async def meet(self, connection: Connection, topic: str, identity: TopicIdentity) -> bool:
        before = {life.topic for life in self._registry.lives}
        found, new = await lives.meet(connection, topic, identity, self._first)
        self._registry.update(found)
        life = self._registry.life(identity.id)
        if life is not None and life.partitions != identity.partitions:
            metrics.PARTITIONS_IGNORED.labels(topic).set(identity.partitions - life.partitions)
            log.error(
                "%s has %d partitions now and began with %d: the others are not written to, since users "
                "would move and their order would be lost. To grow the log use `rating_svc grow`",
                topic,
                identity.partitions,
                life.partitions,
            )
        if new and topic in before:
            log.error(
                "%s was made again: it is a new life of the log, and is read from its start. What the "
                "topic before held and nobody had read is lost",
                topic,
            )
        # What a group has committed in Kafka tells of the first database alone.
        return self._first is None and (not new or topic not in before)

    async def mine(self, connection: Connection, places: Collection[Place]) -> Collection[Place]:
        said = await slot_rows.read_for_now(connection)
        others = self._shards.heard(self._shard) if self._shards is not None else []
        self._own = slots.own(self._shard, said, others)
        for life in map(self._registry.life, {place.topic_id for place in places}):
            if life is not None and life.partitions % self._own.total:
                raise slots.Conflict(
                    f"{life.topic} has {life.partitions} partitions, and users are divided into "
                    f"{self._own.total} slots: it must be a multiple of that"
                )
        return [place for place in places if self._own.has(place.partition)]

    async def restart(self, connection: Connection, place: Place) -> None:
        self._registry.update(await lives.cut(connection, *place, self._first))

    async def held(self, connection: Connection, places: Collection[Place]) -> Collection[Place]:
        # The order of events must be that of the log, also when a store that was set back reads it again:
        # a generation is read after all that came before it.
        unread = await lives.unread(connection, self._reader, self._own)
        return [place for place in places if self._registry.before(place) & unread]


def make_reader(
    consumer: Callable[[], BatchConsumer],
    kafka: KafkaConfig,
    producer: KafkaProducer,
    postgres: Postgres,
    handler: SubmissionHandler,
    config: WorkerConfig,
    reader: str = WORKERS,
) -> BatchReader[Submission | None, BatchOutcome]:
    """A worker that is not running yet."""
    limit = DeadLetterLimit(config.dead_letter_count, config.dead_letter_share)
    box = DeadLetterBox(reader, topics.DEAD_LETTERS, producer, postgres, limit)
    return BatchReader(reader, consumer, kafka, postgres, handler, box, config.batch)
