"""What waits for somebody, measured in loops of their own: the outbox, and dead letters."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from mesh import clock
from mesh.errors import MarqueeError
from mesh.kafka import KafkaConfig, identify
from mesh.kafka.topics import bounds_of
from mesh.postgres import Postgres
from rating_svc import dlq, metrics, store

log = logging.getLogger(__name__)

_OUTBOX_S: Final = 5.0
_LETTERS_S: Final = 15.0


class OutboxWatch:
    """Looks into the outbox, also while the relay hangs or another has its turn."""

    def __init__(self, postgres: Postgres, interval_s: float = _OUTBOX_S) -> None:
        self._postgres = postgres
        self._interval_s = interval_s
        self._since: float | None = None

    async def run(self) -> None:
        """Looks forever. While the database is away, what was seen last grows older."""
        metrics.OUTBOX_AGE.set_function(self._age_s)
        while True:
            try:
                waiting, age_s = await store.outbox_state(self._postgres)
            except MarqueeError as error:
                log.info("the outbox can't be seen: %s", error)
            else:
                metrics.OUTBOX_PENDING.set(waiting)
                self._since = clock.now() - age_s if waiting else None
            await asyncio.sleep(self._interval_s)

    def _age_s(self) -> float:
        since = self._since
        return 0.0 if since is None else max(clock.now() - since, 0.0)


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
