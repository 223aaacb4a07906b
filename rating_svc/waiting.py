"""The dead letters that wait for somebody, counted."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from mesh.kafka import KafkaConfig, identify
from mesh.kafka.topics import bounds_of
from rating_svc import dlq, metrics

log = logging.getLogger(__name__)

_LETTERS_S: Final = 15.0


class LettersWatch:
    """Counts the dead letters that nobody has sent again. They are read only where some have come or gone."""

    def __init__(self, config: KafkaConfig, topics: Sequence[str], interval_s: float = _LETTERS_S) -> None:
        self._config = config
        self._topics = topics
        self._interval_s = interval_s
        self._seen: dict[str, object] = {}

    async def run(self) -> None:
        """Counts forever."""
        while True:
            for topic in self._topics:
                try:
                    await self._count(topic)
                except KafkaException as error:
                    # Its owner may not have made it yet.
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        log.warning("the letters of %s can't be counted: %s", topic, error)
            await asyncio.sleep(self._interval_s)

    async def _count(self, topic: str) -> None:
        identity = await identify(self._config, topic)
        every = [(topic, number) for number in range(identity.partitions)]
        now = (identity.id, await bounds_of(self._config, every))
        if now != self._seen.get(topic):
            metrics.LETTERS_WAITING.labels(topic).set(len(await dlq.read(self._config, topic)))
            self._seen[topic] = now
