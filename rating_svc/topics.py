"""The topics that rating_svc owns."""

from typing import Final

from mesh.kafka import KafkaConfig, Topic
from rating_svc.config import LogConfig

SUBMITTED: Final = "marquee.ratings.submitted.v1"
CHANGED: Final = "marquee.ratings.changed.v1"
DEAD_LETTERS: Final = "marquee.ratings.submitted.dlq.v1"
CHANGED_DEAD_LETTERS: Final = "marquee.ratings.changed.dlq.v1"
"""ranking_svc's own: it holds changes that could not be counted, for operators to send here again."""

_DAY_S: Final = 86_400


def declared(log: LogConfig, kafka: KafkaConfig) -> list[Topic]:
    """The topics as they must be."""
    # With three copies a write waits for two of them, so that losing any one broker loses nothing.
    durable = {"min.insync.replicas": "2"} if kafka.replication >= 3 else {}
    return [
        # Below the time for which a tombstone is kept: a replay must find every row's place in the order.
        Topic(SUBMITTED, log.partitions, retention_s=7 * _DAY_S, config=durable),
        Topic(CHANGED, log.partitions, retention_s=7 * _DAY_S, config=durable),
        Topic(DEAD_LETTERS, 1, retention_s=30 * _DAY_S, config=durable),
    ]
