"""The topics that rating_svc owns."""

from typing import Final

from mesh.kafka import KafkaConfig, Topic
from mesh.kafka.retention import Retention
from rating_svc.config import SubmissionLogConfig

SUBMITTED: Final = "marquee.ratings.submitted.v1"
"""The log's first generation; the later ones are named SUBMITTED.gN (see `rating_svc.growth`)."""
CHANGED: Final = "marquee.ratings.changed.v1"
DEAD_LETTERS: Final = "marquee.ratings.submitted.dlq.v1"
CHANGED_DEAD_LETTERS: Final = "marquee.ratings.changed.dlq.v1"
"""ranking_svc's own: it holds changes that could not be counted, for operators to send here again."""
FACTS_DEAD_LETTERS: Final = "marquee.movies.changed.dlq.v1"
"""ranking_svc's own too: what it can't keep of what movie_svc tells."""
FACTS: Final = "marquee.movies.changed.v1"
"""movie_svc's own, where such letters come from."""


def generation_of_log(name: str, partitions: int, kafka: KafkaConfig, retention: Retention) -> Topic:
    """A generation of the log of submissions as it must be."""
    config = {**_durable(kafka), **retention.topic_config()}
    return Topic(name, partitions, retention_s=retention.log_s, config=config)


def declared(log: SubmissionLogConfig, kafka: KafkaConfig, retention: Retention) -> list[Topic]:
    """The other topics as they must be."""
    config = {**_durable(kafka), **retention.topic_config()}
    return [
        Topic(CHANGED, log.partitions, retention_s=retention.log_s, config=config),
        Topic(DEAD_LETTERS, 1, retention_s=retention.letters_s, config=_durable(kafka)),
    ]


def _durable(kafka: KafkaConfig) -> dict[str, str]:
    # With three copies a write waits for two of them, so that losing any one broker loses nothing.
    return {"min.insync.replicas": "2"} if kafka.replication >= 3 else {}
