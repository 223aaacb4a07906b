"""Kafka: topics declared in code, a producer and a batch consumer for asyncio.

Both wrap confluent-kafka's synchronous clients. Its own asyncio producer adds
100–200 ms and refuses headers; aiokafka costs more than twice the CPU a message
(docs/decisions/0006-kafka-through-confluent-kafka.md).

| module | what it is about |
|---|---|
| `config`, `topics`, `retention` | where Kafka is, topics as they must be, how long they hold a message |
| `producer`, `fenced` | writing; and writing as the only one |
| `batches`, `handler` | a log into a database, a batch in one transaction; what a service adds to that |
| `consumer`, `tracker`, `offsets` | reading; where the store says that reading goes on |
| `dead_letters` | messages that can't be processed |
| `record`, `event_ids` | a message, and the id that follows from its place |
| `backlog`, `replicas` | measuring: what was not read yet, and copies that are missing |
"""

from mesh.kafka.backlog import Backlog
from mesh.kafka.batches import BatchReader
from mesh.kafka.config import KafkaConfig
from mesh.kafka.consumer import BatchConsumer
from mesh.kafka.dead_letters import DeadLetterBox, DeadLetterLimit, Poison, TooManyDeadLetters
from mesh.kafka.handler import DecodedRecord, Handler
from mesh.kafka.offsets import Offsets, Place
from mesh.kafka.producer import KafkaProducer, Sent
from mesh.kafka.record import Record
from mesh.kafka.replicas import Replicas
from mesh.kafka.topics import Topic, TopicIdentity, ensure_topics, identify, identify_all, topic_names

__all__ = [
    "Backlog",
    "BatchConsumer",
    "BatchReader",
    "DeadLetterBox",
    "DeadLetterLimit",
    "DecodedRecord",
    "Handler",
    "KafkaConfig",
    "KafkaProducer",
    "Offsets",
    "Place",
    "Poison",
    "Record",
    "Replicas",
    "Sent",
    "TooManyDeadLetters",
    "Topic",
    "TopicIdentity",
    "ensure_topics",
    "identify",
    "identify_all",
    "topic_names",
]
