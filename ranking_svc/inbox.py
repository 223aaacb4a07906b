"""What is remembered of events that can't come again any more, and is deleted.

How long a message may come again follows from how long Kafka holds it: from the
setting that all services share, and from what the topic really is set to if
that is longer.
"""

from confluent_kafka import KafkaException

from mesh.errors import unavailable
from mesh.kafka import KafkaConfig, dead_letters
from mesh.kafka.retention import Retention
from mesh.kafka.topics import held_s
from mesh.pruning import Aged


def aged(queue: KafkaConfig, retention: Retention, topic: str) -> list[Aged]:
    """The rows that follow from events of a topic."""

    async def remember_s() -> float:
        """For how long an event may be read again; infinite if the topic keeps all."""
        try:
            held = await held_s(queue, topic)
        except KafkaException as error:
            raise unavailable(
                "QUEUE_UNAVAILABLE", f"{topic} does not say what it holds: {error}", 5
            ) from error
        return max(retention.remember_s, held + retention.refresh_s)

    async def redriven_s() -> float:
        """The same where a dead letter may have been sent again."""
        return max(retention.tombstones_s, await remember_s())

    return [
        Aged("inbox", "event_id", "taken_at", remember_s, "NOT redriven"),
        Aged("inbox", "event_id", "taken_at", redriven_s, "redriven"),
        Aged("repaired", "movie", "repaired_at", redriven_s),
        dead_letters.aged(redriven_s),
    ]
