"""The topics that ranking_svc reads and those that it owns, and how far it has read."""

import asyncio
import time
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from mesh.errors import unavailable
from mesh.kafka import KafkaConfig, Place, Topic, identify
from mesh.kafka import offsets as kafka_offsets
from mesh.kafka.topics import bounds_of
from mesh.postgres import Postgres

RATINGS_CHANGED: Final = "marquee.ratings.changed.v1"
MOVIES_CHANGED: Final = "marquee.movies.changed.v1"
DEAD_LETTERS: Final = Topic("marquee.ratings.changed.dlq.v1", partitions=1, retention_s=30 * 86_400)
MOVIES_DEAD_LETTERS: Final = Topic("marquee.movies.changed.dlq.v1", partitions=1, retention_s=30 * 86_400)

AGGREGATES_GROUP: Final = "ranking_svc.aggregates"
FACTS_GROUP: Final = "ranking_svc.facts"

_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.2


class Offsets:
    """How far a reader has come in a topic."""

    def __init__(
        self,
        config: KafkaConfig,
        postgres: Postgres,
        topic: str = RATINGS_CHANGED,
        reader: str = AGGREGATES_GROUP,
    ) -> None:
        self._config = config
        self._postgres = postgres
        self._topic = topic
        self._reader = kafka_offsets.Offsets(reader)

    async def fence(self, timeout_s: float = 30.0) -> None:
        """Waits until all that the topic holds now has been stored by the reader.

        Raises:
            MarqueeError: UNAVAILABLE if Kafka or the database is away, or the readers are too late.
        """
        try:
            async with asyncio.timeout(timeout_s):
                ends = await self._ends()
        except TimeoutError:
            raise unavailable("QUEUE_UNAVAILABLE", "Kafka does not answer; try again", 5) from None
        deadline = time.monotonic() + timeout_s
        while left := await self._left(ends):
            if time.monotonic() > deadline:
                raise unavailable(
                    "CHANGES_UNDER_WAY", f"{left} changes of ratings are not counted yet; try again", 10
                )
            await asyncio.sleep(_PAUSE_S)

    async def _ends(self) -> dict[Place, tuple[int, int]]:
        """The first offset of each partition and the next one; asks again: a leader may just be moving."""
        while True:
            try:
                identity = await identify(self._config, self._topic)
                every = [(self._topic, number) for number in range(identity.partitions)]
                bounds = await bounds_of(self._config, every)
                return {Place(identity.id, number): of for (_, number), of in bounds.items()}
            except KafkaException:
                await asyncio.sleep(_PAUSE_S)

    async def _left(self, ends: dict[Place, tuple[int, int]]) -> int:
        async with self._postgres.read(fresh=True) as connection:
            stored = await self._reader.load(connection, {place.topic_id for place in ends})
        done = {place: at.next_offset for place, at in stored.items()}
        return sum(max(end - done.get(place, low), 0) for place, (low, end) in ends.items())


async def await_topic(config: KafkaConfig, name: str) -> None:
    """Waits until a topic is there: whoever owns it may start later.

    A consumer that subscribes before that finds it minutes later only.
    """
    admin = AdminClient({**config.client, "log_level": 0})
    while True:
        try:
            if name in (await asyncio.to_thread(admin.list_topics, timeout=_TIMEOUT_S)).topics:
                return
        except KafkaException:
            pass
        await asyncio.sleep(_PAUSE_S)
