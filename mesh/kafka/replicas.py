"""Whether Kafka has all copies of its partitions, as a client sees it."""

import asyncio
import logging
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client import Gauge

from mesh.kafka.config import KafkaConfig
from mesh.metrics import Group

log = logging.getLogger(__name__)

_METRICS: Final = Group()

BROKERS: Final = Gauge(
    "marquee_kafka_brokers",
    "Brokers that are in the cluster. Fewer than there should be: start the one that is missing.",
    registry=_METRICS,
)
UNDER_REPLICATED: Final = Gauge(
    "marquee_kafka_under_replicated_partitions",
    "Partitions of which a copy is behind or missing. Above zero for minutes: a broker is away or too slow; "
    "the loss of another one would stop writes.",
    registry=_METRICS,
)
OFFLINE: Final = Gauge(
    "marquee_kafka_offline_partitions",
    "Partitions without a leader: nothing can be written to them or read. Above zero: start their brokers.",
    registry=_METRICS,
)

_INTERVAL_S: Final = 5.0
_TIMEOUT_S: Final = 5.0


class Replicas:
    """Looks at all partitions, of all topics."""

    def __init__(self, config: KafkaConfig, interval_s: float = _INTERVAL_S) -> None:
        self._admin = AdminClient({**config.client, "log_level": 0})
        self._interval_s = interval_s

    async def run(self) -> None:
        """Looks forever. While no broker answers, what was seen last stands; `dependency_up` says so."""
        _METRICS.export()
        while True:
            try:
                await asyncio.to_thread(self._look)
            except KafkaException as error:
                log.warning("no broker tells of the partitions: %s", error)
            await asyncio.sleep(self._interval_s)

    def _look(self) -> None:
        found = self._admin.list_topics(timeout=_TIMEOUT_S)
        partitions = [each for topic in found.topics.values() for each in topic.partitions.values()]
        BROKERS.set(len(found.brokers))
        UNDER_REPLICATED.set(sum(len(each.isrs) < len(each.replicas) for each in partitions))
        OFFLINE.set(sum(each.leader < 0 for each in partitions))
