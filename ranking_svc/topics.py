"""The topics that ranking_svc reads and the one that it owns, and how far it has read."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from mesh.errors import unavailable
from mesh.kafka import KafkaConfig, Topic

RATINGS_CHANGED: Final = "marquee.ratings.changed.v1"
MOVIES_CHANGED: Final = "marquee.movies.changed.v1"
DEAD_LETTERS: Final = Topic("marquee.ratings.changed.dlq.v1", partitions=1, retention_s=30 * 86_400)

AGGREGATES_GROUP: Final = "ranking_svc.aggregates"
FACTS_GROUP: Final = "ranking_svc.facts"

T = TypeVar("T")

_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.2


class Offsets:
    """How far a group's consumers have come in a topic."""

    def __init__(
        self, config: KafkaConfig, topic: str = RATINGS_CHANGED, group: str = AGGREGATES_GROUP
    ) -> None:
        self._admin = AdminClient({"bootstrap.servers": config.bootstrap, "log_level": 0})
        self._topic = topic
        self._group = group

    async def fence(self, timeout_s: float = 30.0) -> None:
        """Waits until all that the topic holds now has been dealt with by the group.

        Raises:
            MarqueeError: UNAVAILABLE if Kafka is away or the consumers don't get there in time.
        """
        deadline = time.monotonic() + timeout_s
        ends = await asyncio.to_thread(self._ask, self._ends, deadline)
        while (left := await asyncio.to_thread(self._ask, lambda: self._left(ends), deadline)) > 0:
            if time.monotonic() > deadline:
                raise unavailable(
                    "CHANGES_UNDER_WAY", f"{left} changes of ratings are not counted yet; try again", 10
                )
            await asyncio.sleep(_PAUSE_S)

    def _ask(self, question: Callable[[], T], deadline: float) -> T:
        """Asks again until the deadline: a group's coordinator may just be moving."""
        while True:
            try:
                return question()
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise unavailable("QUEUE_UNAVAILABLE", f"Kafka does not answer: {error}", 5) from error
                time.sleep(_PAUSE_S)

    def _ends(self) -> dict[int, int]:
        topic = self._admin.list_topics(self._topic, timeout=_TIMEOUT_S).topics[self._topic]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(self._topic, partition): latest for partition in topic.partitions}
        found = self._admin.list_offsets(asked, request_timeout=_TIMEOUT_S) if asked else {}
        return {at.partition: future.result().offset for at, future in found.items()}

    def _left(self, ends: dict[int, int]) -> int:
        request = ConsumerGroupTopicPartitions(
            self._group, [TopicPartition(self._topic, partition) for partition in ends]
        )
        future = self._admin.list_consumer_group_offsets([request], request_timeout=_TIMEOUT_S)[self._group]
        committed = {at.partition: max(at.offset, 0) for at in future.result().topic_partitions}
        return sum(max(end - committed.get(partition, 0), 0) for partition, end in ends.items())


async def await_topic(config: KafkaConfig, name: str) -> None:
    """Waits until a topic is there: whoever owns it may start later.

    A consumer that subscribes before that finds it minutes later only.
    """
    admin = AdminClient({"bootstrap.servers": config.bootstrap, "log_level": 0})
    while True:
        try:
            if name in (await asyncio.to_thread(admin.list_topics, timeout=_TIMEOUT_S)).topics:
                return
        except KafkaException:
            pass
        await asyncio.sleep(_PAUSE_S)
