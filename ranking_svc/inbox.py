"""Forgets events that can't come again, so that the inbox stays small.

How long a message may come again follows from how long Kafka holds it: from the
setting that all services share, and from what the topic really is set to if
that is longer.
"""

import asyncio
import logging
import math
from typing import Final

from confluent_kafka import KafkaException

from mesh.errors import MarqueeError
from mesh.kafka import KafkaConfig
from mesh.kafka.retention import Retention
from mesh.kafka.topics import held_s
from ranking_svc.store import Store

log = logging.getLogger(__name__)

_PORTION: Final = 5000
_PAUSE_S: Final = 0.1
_INTERVAL_S: Final = 60.0


class Pruner:
    """Prunes the inbox. Several processes may: what one deletes the others don't find."""

    def __init__(self, store: Store, queue: KafkaConfig, retention: Retention, topic: str) -> None:
        self._store = store
        self._queue = queue
        self._retention = retention
        self._topic = topic

    async def run(self) -> None:
        """Prunes for ever."""
        while True:
            pruned = 0
            try:
                pruned = await self.prune(_PORTION)
            except (MarqueeError, KafkaException) as error:
                log.warning("the inbox is not pruned now: %s", error)
            await asyncio.sleep(_PAUSE_S if pruned == _PORTION else _INTERVAL_S)

    async def prune(self, limit: int) -> int:
        """Forgets up to `limit` events; returns how many it were.

        Raises:
            MarqueeError: UNAVAILABLE, the database is away.
            KafkaException: no broker answers, or the topic is gone.
        """
        held = await held_s(self._queue, self._topic)
        if math.isinf(held):
            return 0
        remember_s = max(self._retention.remember_s, held + self._retention.refresh_s)
        return await self._store.prune_inbox(remember_s, self._retention.tombstones_s, limit)
