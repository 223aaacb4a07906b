"""How far a reader is behind its log: from the log's end to what is stored, in messages and in seconds.

Measured in a loop of its own, so that it is true while nothing is read or stored:
while the database is frozen, what it held last counts, and the lag grows. Each
process of a reader measures all partitions, whoever reads them; take the maximum
by topic and partition.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from prometheus_client import Gauge

from mesh import clock
from mesh.errors import MarqueeError
from mesh.kafka.config import KafkaConfig
from mesh.kafka.consumer import Partition
from mesh.kafka.offsets import Offsets
from mesh.kafka.topics import bounds_of, identify
from mesh.postgres import Postgres

log = logging.getLogger(__name__)

LAG: Final = Gauge(
    "marquee_kafka_consumer_lag_messages",
    "Messages in the partition that the reader has not stored. Grows for minutes: see whether the database "
    "takes writes, then add processes.",
    ("reader", "topic", "partition"),
)
AGE: Final = Gauge(
    "marquee_kafka_consumer_lag_seconds",
    "How long the oldest message that the reader has not stored has stood in the partition, in seconds; 0 if "
    "there is none. Over a minute: the reader hangs or is too slow.",
    ("reader", "topic", "partition"),
)

_INTERVAL_S: Final = 5.0
_PEEK_S: Final = 3.0


class Backlog:
    """The backlog of one reader, measured in one of its processes."""

    def __init__(
        self, config: KafkaConfig, postgres: Postgres, reader: str, interval_s: float = _INTERVAL_S
    ) -> None:
        self._config = config
        self._postgres = postgres
        self._offsets = Offsets(reader)
        self._interval_s = interval_s
        self._stored: dict[tuple[Partition, str], int] = {}
        """By partition and the brokers' name for its topic."""
        self._oldest: dict[Partition, tuple[int, float | None]] = {}
        """What stands behind which end of what is stored: since when, or None if there is no message."""
        self._seen: dict[Partition, int] = {}
        """Where a partition ended when it was last looked into."""
        self._told: set[Partition] = set()

    async def run(self) -> None:
        """Measures forever."""
        peeker = await asyncio.to_thread(_Peeker, self._config, self._offsets.reader)
        try:
            while True:
                try:
                    await self.measure(peeker)
                except KafkaException as error:
                    log.warning("no broker tells where the log ends: %s", error)
                    self._tell_ages()
                await asyncio.sleep(self._interval_s)
        finally:
            await asyncio.shield(asyncio.to_thread(peeker.close))

    async def measure(self, peeker: "_Peeker") -> None:
        """Measures once.

        Raises:
            KafkaException: no broker answered.
        """
        with contextlib.suppress(MarqueeError):  # away: what it held last counts
            async with self._postgres.read(fresh=True) as connection:
                self._stored = await self._offsets.everywhere(connection)
        ends = await self._ends()
        behind = {at: stored for at, (stored, end) in ends.items() if stored < end}
        # What has not moved since the last look need not be looked into again.
        unknown = {
            at: stored
            for at, stored in behind.items()
            if self._oldest.get(at, (-1, None))[0] != stored
            or (self._oldest[at][1] is None and self._seen.get(at) != ends[at][1])
        }
        found = await asyncio.to_thread(peeker.peek, unknown) if unknown else {}
        self._oldest = {
            at: (stored, found[at]) if at in found else self._oldest[at]
            for at, stored in behind.items()
            if at in found or (at in self._oldest and at not in unknown)
        }
        self._seen = {at: ends[at][1] for at in self._oldest}
        for at, (stored, end) in ends.items():
            # Behind the last message there may stand nothing but the marks of transactions.
            empty = at in self._oldest and self._oldest[at][1] is None
            LAG.labels(self._offsets.reader, at[0], at[1]).set(0 if empty else max(end - stored, 0))
        for topic, partition in self._told - ends.keys():
            for metric in (LAG, AGE):
                with contextlib.suppress(KeyError):
                    metric.remove(self._offsets.reader, topic, str(partition))
        self._told = set(ends)
        self._tell_ages()

    def _tell_ages(self) -> None:
        for at in self._told:
            since = self._oldest.get(at, (0, None))[1]
            age = 0.0 if since is None else max(clock.now() - since, 0.0)
            AGE.labels(self._offsets.reader, at[0], at[1]).set(age)

    async def _ends(self) -> dict[Partition, tuple[int, int]]:
        """Up to where each partition that there is was stored, and where it ends."""
        ids: dict[str, str] = {}
        for topic in {at[0] for at, _ in self._stored}:
            try:
                ids[topic] = (await identify(self._config, topic)).id
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        stored = {at: offset for (at, topic_id), offset in self._stored.items() if ids.get(at[0]) == topic_id}
        bounds = await bounds_of(self._config, stored)
        return {at: (max(offset, bounds[at][0]), bounds[at][1]) for at, offset in stored.items()}


class _Peeker:
    """Looks at the first message behind an offset. Not for several threads at once."""

    def __init__(self, config: KafkaConfig, reader: str) -> None:
        self._consumer = Consumer(
            {
                **config.client,
                # Named for brokers that ask who reads; nothing is committed and no group is joined.
                "group.id": f"{reader}.backlog",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "queued.min.messages": 1,
                "max.partition.fetch.bytes": 1024,
                "log_level": 0,
            }
        )

    def peek(self, starts: Mapping[Partition, int]) -> dict[Partition, float | None]:
        """When the first message from there on was written, in seconds since 1970; None if there is none.

        Without those of which nothing was heard in time.
        """
        found: dict[Partition, float | None] = {}
        deadline = time.monotonic() + _PEEK_S
        self._consumer.assign(
            [TopicPartition(topic, number, start) for (topic, number), start in starts.items()]
        )
        try:
            while len(found) < len(starts) and (left := deadline - time.monotonic()) > 0:
                message = self._consumer.poll(left)
                if message is None:
                    break
                at = (message.topic() or "", message.partition() or 0)
                error = message.error()
                if error is None:
                    found.setdefault(at, message.timestamp()[1] / 1000)
                elif error.code() == KafkaError._PARTITION_EOF:
                    found.setdefault(at, None)
        finally:
            self._consumer.unassign()
        return found

    def close(self) -> None:
        self._consumer.close()
