"""Kafka: topics declared in code, a producer and a batch consumer for asyncio.

Both wrap confluent-kafka's synchronous clients. Its own asyncio producer adds
100–200 ms and refuses headers; aiokafka costs more than twice the CPU a message
(docs/decisions/0006-kafka-clients.md).
"""

from mesh.kafka.config import KafkaConfig
from mesh.kafka.consumer import BatchConsumer, Record
from mesh.kafka.producer import KafkaProducer, Position
from mesh.kafka.topics import Topic, TopicIdentity, ensure_topics, identify

__all__ = [
    "BatchConsumer",
    "KafkaConfig",
    "KafkaProducer",
    "Position",
    "Record",
    "Topic",
    "TopicIdentity",
    "ensure_topics",
    "identify",
]
