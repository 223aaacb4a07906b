"""Topics: declared in code, created where they are missing."""

import asyncio
import functools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from mesh.kafka.config import KafkaConfig

log = logging.getLogger(__name__)

_NOT_YET: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
)


@dataclass(frozen=True)
class Topic:
    """A topic as it must be."""

    name: str
    partitions: int
    retention_s: int | None = None
    compacted: bool = False
    config: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """The topic's configuration in Kafka's own names."""
        made = {"cleanup.policy": "compact" if self.compacted else "delete", **self.config}
        if self.retention_s is not None:
            made["retention.ms"] = str(self.retention_s * 1000)
        return made


async def ensure_topics(config: KafkaConfig, topics: Sequence[Topic], timeout_s: float = 30.0) -> None:
    """Creates the topics that are missing, and waits until they can be used. Waits for the brokers to come.

    Raises:
        RuntimeError: the brokers stayed away for `timeout_s`.
        KafkaException: they refused.
    """
    await asyncio.to_thread(_ensure_topics, config, topics, timeout_s)


def _ensure_topics(config: KafkaConfig, topics: Sequence[Topic], timeout_s: float) -> None:
    admin = _admin(config.bootstrap)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            known = set(admin.list_topics(timeout=2).topics)
            break
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka at {config.bootstrap} stayed away for {timeout_s:g} s") from error
    missing = [topic for topic in topics if topic.name not in known]
    if not missing:
        return
    created = admin.create_topics(
        [NewTopic(t.name, t.partitions, config.replication, config=t.settings()) for t in missing],
        request_timeout=15,
    )
    for name, future in created.items():
        try:
            future.result()
            log.info("created topic %s", name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    while not _usable(admin, [topic.name for topic in missing]):
        if time.monotonic() > deadline:
            log.warning("not all partitions of %s have a leader", ", ".join(topic.name for topic in missing))
            return
        time.sleep(0.05)


def _usable(admin: AdminClient, topics: Sequence[str]) -> bool:
    """Whether each partition's leader knows that it is: of a new topic, some moments after it was created."""
    try:
        found = admin.list_topics(timeout=5).topics
        if not all(topic in found and found[topic].partitions for topic in topics):
            return False
        every = [TopicPartition(topic, number) for topic in topics for number in found[topic].partitions]
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for end in admin.list_offsets(dict.fromkeys(every, latest), request_timeout=5).values():
            end.result()
    except KafkaException as error:
        return error.args[0].code() not in _NOT_YET
    return True


@functools.cache
def _admin(bootstrap: str) -> AdminClient:
    """One client a process: each has threads and connections of its own."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


@dataclass(frozen=True)
class TopicIdentity:
    """What tells a topic from another one of the same name, in which offsets mean something else."""

    id: str
    """Drawn by the brokers when the topic was created."""
    partitions: int


async def identify(config: KafkaConfig, topic: str) -> TopicIdentity:
    """Asks the brokers which topic that is.

    Raises:
        KafkaException: there is none, or no broker answered.
    """
    return (await identify_all(config, [topic]))[topic]


async def identify_all(config: KafkaConfig, topics: Collection[str]) -> dict[str, TopicIdentity]:
    """Asks the brokers which topics these are, in one request.

    Raises:
        KafkaException: one of them is not there, or no broker answered.
    """
    asked = _admin(config.bootstrap).describe_topics(TopicCollection(list(topics)), request_timeout=5)
    answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()))
    return {
        name: TopicIdentity(str(answer.topic_id), len(answer.partitions))
        for name, answer in zip(asked, answers, strict=True)
    }


async def bounds_of(
    config: KafkaConfig, partitions: Collection[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """The first offset that partitions (topic, number) hold, and the one that their next message gets.

    Raises:
        KafkaException: one of them is not there, or no broker answered.
    """
    admin = _admin(config.bootstrap)
    specs = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
    asked = [TopicPartition(topic, number) for topic, number in partitions]
    if not asked:
        return {}
    answers = [admin.list_offsets(dict.fromkeys(asked, spec), request_timeout=5) for spec in specs]
    lows, highs = [
        await asyncio.gather(*(asyncio.wrap_future(answer[at]) for at in asked)) for answer in answers
    ]
    return {
        (at.topic, at.partition): (low.offset, high.offset)
        for at, low, high in zip(asked, lows, highs, strict=True)
    }
