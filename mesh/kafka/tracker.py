"""Keeps a consumer where the store says that it is."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from prometheus_client import Counter

from mesh.kafka.config import KafkaConfig
from mesh.kafka.consumer import BatchConsumer, Partition
from mesh.kafka.handler import Handler
from mesh.kafka.offsets import Move, Offsets, Place, Stored
from mesh.kafka.record import Record
from mesh.kafka.topics import TopicIdentity, bounds_of, identify_all
from mesh.postgres import Postgres

log = logging.getLogger(__name__)

EXPIRED: Final = Counter(
    "marquee_reader_expired_total",
    "Messages that Kafka deleted before they were read: the reader was away for longer than the topic's "
    "retention. Above zero: acknowledged data is lost; see the runbook for what can be had back.",
    ("reader", "topic"),
)
MOVED: Final = Counter(
    "marquee_reader_moved_total",
    "Partitions that were read on from elsewhere than where this process was, by why: given (it just got "
    "the partition), store (others read on, or the store was set back), log (the log was cut or replaced).",
    ("reader", "why"),
)

_LOOK_S: Final = 2.0
_SHAKEN_S: Final = 5.0
# A leader that was just elected may not know yet how much of its log is safe.
_SHORT_S: Final = 1.5


class _Track:
    """Where this process believes a partition to stand."""

    __slots__ = ("fingerprint", "next_offset", "number", "place")

    def __init__(self, number: int, place: Place, stored: Stored) -> None:
        self.number = number
        self.place = place
        self.next_offset = stored.next_offset
        self.fingerprint = stored.fingerprint
        """Of the message before; None once it was compared, or if there is none to compare."""


class Tracker:
    """Where each of a consumer's partitions stands, in the store and so in the consumer."""

    def __init__(
        self,
        consumer: BatchConsumer,
        config: KafkaConfig,
        postgres: Postgres,
        offsets: Offsets,
        handler: Handler[Any, Any],
    ) -> None:
        self._consumer = consumer
        self._config = config
        self._postgres = postgres
        self._offsets = offsets
        self._handler = handler
        self._tracks: dict[Partition, _Track] = {}
        self._cut: set[Partition] = set()
        self._short: dict[Partition, float] = {}
        self._held: set[Partition] = set()
        self._foreign: set[Partition] = set()
        """What was given to the consumer and is stored in another database."""
        self._known: set[str] = set()
        self._look_at = 0.0
        self._shaken_at = 0.0

    async def follow(self) -> None:
        """Brings the consumer to where the store says that it is. Looks only when it is due.

        Raises:
            MarqueeError: UNAVAILABLE, the database is away.
            PostgresError: it can't do it now.
            KafkaException: no broker answers, or a topic is gone.
        """
        given, now = self._consumer.given, time.monotonic()
        self._tracks = {at: track for at, track in self._tracks.items() if given.get(at) == track.number}
        if self._consumer.shaken and now >= self._shaken_at:
            # A broker that comes back may have lost something: compare.
            self._consumer.shaken, self._shaken_at = False, now + _SHAKEN_S
            self._tracks.clear()
        self._foreign &= given.keys()
        if not given or (given.keys() <= self._tracks.keys() | self._foreign and now < self._look_at):
            return
        identities = await identify_all(self._config, sorted({topic for topic, _ in given}))
        await self._compare(identities)
        if missing := given.keys() - self._tracks.keys() - self._foreign:
            await self._align(missing, identities)
        await self._hold()
        self._look_at = time.monotonic() + _LOOK_S / 2 if self._held or self._short else now + _LOOK_S

    async def same_topics(self, records: Sequence[Record]) -> bool:
        """Whether records that were read come from the topics that they are believed to come from.

        Raises:
            KafkaException: no broker answers, or the topic is gone.
        """
        identities = await identify_all(self._config, sorted({record.topic for record in records}))
        changed = [at for at, track in self._tracks.items() if _changed(track, at, identities)]
        self.forget(changed, "log")
        return not changed

    def take(self, batch: Sequence[Record]) -> list[Record]:
        """The records of a batch that are the next ones of their partitions.

        Those that are not are found again: their partitions are brought into line by `follow`.
        """
        last = {at: track.next_offset - 1 for at, track in self._tracks.items()}
        taken: list[Record] = []
        wrong: set[Partition] = set()
        for record in batch:
            at = (record.topic, record.partition)
            track = self._tracks.get(at)
            if track is None or at in wrong or at in self._held:
                continue
            if record.offset > last[at]:
                track.fingerprint = None
                last[at] = record.offset
                taken.append(record)
            elif record.offset == track.next_offset - 1 and track.fingerprint is not None:
                if record.fingerprint() != track.fingerprint:
                    self._cut.add(at)
                    wrong.add(at)
                track.fingerprint = None
            else:
                wrong.add(at)
        if wrong:
            log.warning("the log of %s went back", ", ".join(f"{t}/{p}" for t, p in sorted(wrong)))
            self.forget(wrong, "log")
        return [record for record in taken if (record.topic, record.partition) not in wrong]

    def place_of(self, record: Record) -> Place:
        """The partition that a taken record comes from, by its topic's id."""
        return self._tracks[record.topic, record.partition].place

    def moves(self, records: Sequence[Record]) -> list[Move]:
        """What storing these records moves, in the order of the rows' key."""
        last = {(record.topic, record.partition): record for record in records}
        return sorted(
            Move(track.place, track.next_offset, record.offset + 1, record.fingerprint())
            for at, record in last.items()
            for track in [self._tracks[at]]
        )

    def moved(self, records: Sequence[Record]) -> None:
        """They are stored."""
        for at, offset in {(record.topic, record.partition): record.offset for record in records}.items():
            self._tracks[at].next_offset = offset + 1

    def forget(self, partitions: Collection[Partition], why: str) -> None:
        """These don't stand where they were believed to stand."""
        for at in partitions:
            if self._tracks.pop(at, None) is not None:
                MOVED.labels(self._offsets.reader, why).inc()

    async def _compare(self, identities: Mapping[str, TopicIdentity]) -> None:
        replaced = [at for at, track in self._tracks.items() if _changed(track, at, identities)]
        self.forget(replaced, "log")
        if not self._tracks and not self._foreign:
            return
        every = {Place(identities[at[0]].id, at[1]): at for at in (*self._tracks, *self._foreign)}
        async with self._postgres.write() as connection:
            stored = await self._offsets.load(connection, {place.topic_id for place in every})
            mine = {every[place] for place in await self._handler.mine(connection, every.keys())}
        self._foreign -= mine
        if lost := self._tracks.keys() - mine:
            log.info("stored elsewhere now: %s", ", ".join(f"{t}/{p}" for t, p in sorted(lost)))
            self.forget(lost, "store")
            self._foreign |= lost
        strayed = [
            at
            for at, track in self._tracks.items()
            if track.place not in stored or stored[track.place].next_offset != track.next_offset
        ]
        if strayed:
            log.warning("the store is elsewhere for %s", ", ".join(f"{t}/{p}" for t, p in sorted(strayed)))
            self.forget(strayed, "store")

    async def _align(self, missing: AbstractSet[Partition], identities: Mapping[str, TopicIdentity]) -> None:
        topics = {topic for topic, _ in missing}
        every = [(topic, number) for topic in topics for number in range(identities[topic].partitions)]
        bounds = await bounds_of(self._config, every)
        committed = await self._consumer.committed([at for at in every if at[0] not in self._known])
        async with self._postgres.write() as connection:
            for topic in sorted(topics):
                adopt = await self._handler.meet(connection, topic, identities[topic])
                places = [Place(identities[topic].id, n) for n in range(identities[topic].partitions)]
                mine = {place.partition for place in await self._handler.mine(connection, places)}
                self._foreign |= {(t, n) for t, n in missing if t == topic and n not in mine}
                lows = {number: bounds[topic, number][0] for number in mine}
                adopted = {p: offset for (t, p), offset in committed.items() if t == topic}
                await self._offsets.begin(
                    connection, topic, identities[topic].id, lows, adopted if adopt else None
                )
            stored = await self._offsets.load(connection, {identities[topic].id for topic in topics})
        self._known |= topics
        starts: dict[Partition, int] = {}
        for at in missing - self._foreign:
            place = Place(identities[at[0]].id, at[1])
            # Partitions of a topic that just got more may not be known everywhere yet.
            if place in stored and at in bounds:
                found = await self._mended(at, place, stored[place], bounds[at])
                if found is not None and at in self._consumer.given:
                    self._tracks[at] = _Track(self._consumer.given[at], place, found)
                    starts[at] = found.next_offset - (found.fingerprint is not None)
        await self._consumer.seek(starts)

    async def _mended(
        self, at: Partition, place: Place, stored: Stored, bounds: tuple[int, int]
    ) -> Stored | None:
        """Where reading goes on where the log does not hold what the store says; None: not sure yet."""
        low, high = bounds
        if stored.next_offset > high and at not in self._cut:
            seen_at = self._short.setdefault(at, time.monotonic())
            if time.monotonic() - seen_at < _SHORT_S:
                return None
            self._cut.add(at)
        self._short.pop(at, None)
        if at in self._cut:
            await self._restart(at, place, stored, low)
            self._cut.discard(at)
            return Stored(low, None)
        if stored.next_offset < low:
            await self._expire(at, place, stored, low)
            return Stored(low, None)
        return stored if stored.next_offset > low else Stored(stored.next_offset, None)

    async def _restart(self, at: Partition, place: Place, stored: Stored, low: int) -> None:
        log.error(
            "%s/%d has lost its end or was set back: what was read of it up to offset %d is not what it "
            "holds. It is read again from offset %d",
            *at,
            stored.next_offset,
            low,
        )
        async with self._postgres.write() as connection:
            await self._offsets.reset(connection, place, stored.next_offset, low)
            await self._handler.restart(connection, place)

    async def _expire(self, at: Partition, place: Place, stored: Stored, low: int) -> None:
        gone = low - stored.next_offset
        EXPIRED.labels(self._offsets.reader, at[0]).inc(gone)
        log.error(
            "%d messages of %s/%d were deleted by Kafka before they were read (offsets %d to %d): the reader "
            "%s was away for longer than the topic keeps them",
            gone,
            *at,
            stored.next_offset,
            low - 1,
            self._offsets.reader,
        )
        async with self._postgres.write() as connection:
            await self._offsets.reset(connection, place, stored.next_offset, low)

    async def _hold(self) -> None:
        by_place = {track.place: at for at, track in self._tracks.items()}
        async with self._postgres.write() as connection:
            held = {by_place[place] for place in await self._handler.held(connection, by_place.keys())}
        if (held | self._foreign) != self._consumer.paused:
            await self._consumer.pause(held | self._foreign)
        if held != self._held:
            # What a held partition has given already is read when its time has come.
            self._held = held
            await self._consumer.seek({at: self._tracks[at].next_offset for at in held})


def _changed(track: _Track, at: Partition, identities: Mapping[str, TopicIdentity]) -> bool:
    found = identities.get(at[0])
    return found is not None and found.id != track.place.topic_id
