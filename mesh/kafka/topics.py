"""Topics: declared in code, created where they are missing."""

import asyncio
import functools
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
)
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
# What brokers answer that start, elect or starve, or of a topic that another process makes just now.
_PASSING: Final = frozenset(
    {
        *_NOT_YET,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._DESTROY_BROKER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.INVALID_REPLICATION_FACTOR,  # fewer brokers have come so far
    }
)
_PAUSE_S: Final = 0.2


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
    """Creates the topics that are missing, and waits until they can be used.

    Waits for the brokers to come, and asks again where one did not answer.

    Raises:
        RuntimeError: the brokers stayed away for `timeout_s`.
        KafkaException: they refused, or did not answer for so long.
    """
    await asyncio.to_thread(_ensure_topics, config, topics, timeout_s)


async def topic_names(config: KafkaConfig, timeout_s: float = 30.0) -> set[str]:
    """The names of all topics. Waits for the brokers to come.

    Raises:
        RuntimeError: they stayed away for `timeout_s`.
    """
    return await asyncio.to_thread(_topic_names, config, timeout_s)


def _topic_names(config: KafkaConfig, timeout_s: float) -> set[str]:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return set(_admin(config).list_topics(timeout=2).topics)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka at {config.bootstrap} stayed away for {timeout_s:g} s") from error


def _ensure_topics(config: KafkaConfig, topics: Sequence[Topic], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    made: set[str] = set()
    while True:
        known = _topic_names(config, timeout_s)
        missing = [topic for topic in topics if topic.name not in known]
        made |= {topic.name for topic in missing}
        try:
            _fit(config, [topic for topic in topics if topic.name in known])
            _create(config, missing)
            break
        except KafkaException as error:
            if not _passes(error, deadline):
                raise
            log.info("topics are not made yet: %s", error)
            time.sleep(_PAUSE_S)
    while made and not _usable(_admin(config), sorted(made)):
        if time.monotonic() > deadline:
            log.warning("not all partitions of %s have a leader", ", ".join(sorted(made)))
            return
        time.sleep(0.05)


def _passes(error: KafkaException, deadline: float) -> bool:
    """Whether what failed may succeed when it is tried again, and there is time for that."""
    return error.args[0].code() in _PASSING and time.monotonic() < deadline


def _create(config: KafkaConfig, topics: Sequence[Topic]) -> None:
    if not topics:
        return
    created = _admin(config).create_topics(
        [NewTopic(t.name, t.partitions, config.replication, config=t.settings()) for t in topics],
        request_timeout=15,
    )
    for name, future in created.items():
        try:
            future.result()
            log.info("created topic %s", name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _fit(config: KafkaConfig, topics: Sequence[Topic]) -> None:
    """Brings topics that were there before into line with how long they may hold a message.

    Raises:
        RuntimeError: one keeps messages for longer than its readers recognise them.
        KafkaException: the brokers refused.
    """
    admin = _admin(config)
    bounded = [topic for topic in topics if "segment.ms" in topic.config]
    if not bounded:
        return
    asked = {topic.name: ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in bounded}
    answers = admin.describe_configs(list(asked.values()), request_timeout=10)
    for topic in bounded:
        real = {name: entry.value for name, entry in answers[asked[topic.name]].result().items()}
        held, wanted = int(real["retention.ms"] or -1), topic.settings()["retention.ms"]
        if not 0 <= held <= int(wanted):
            raise RuntimeError(
                f"{topic.name} keeps messages for {held} ms (retention.ms), and its readers recognise a "
                f"message that comes again for those of {wanted} ms only: set MARQUEE_LOG_RETENTION_S to "
                f"{max(held, 0) // 1000} in every service, or alter the topic"
            )
        if wrong := {
            name: value
            for name, value in topic.config.items()
            if name in ("segment.ms", "message.timestamp.type") and real.get(name) != value
        }:
            _alter(admin, topic.name, wrong)


def _alter(admin: AdminClient, topic: str, settings: Mapping[str, str]) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    for altered in admin.incremental_alter_configs([resource], request_timeout=10).values():
        altered.result()
    log.warning("%s was not as it must be; altered: %s", topic, dict(settings))


async def alter_topic(config: KafkaConfig, topic: str, settings: Mapping[str, str]) -> None:
    """Alters some settings of a topic.

    Raises:
        KafkaException: the brokers refused.
    """
    await asyncio.to_thread(_alter, _admin(config), topic, settings)


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
def _admin(config: KafkaConfig) -> AdminClient:
    """One client a process: each has threads and connections of its own.

    It asks often who is there. Some requests go to the one broker that it last heard of as the controller,
    and wait while that one is gone: by default, it would ask again after five minutes. And it waits
    shortly for an answer: by default, a broker that hangs would be asked who is there for a minute.

    It keeps a connection to each broker, not only to those it asks something. Else librdkafka (2.16), while
    a request waits for a controller that is gone, gives the connection up and tries it again without a
    pause: at the cost of most of a core in each process, just when brokers need the time to elect another.
    """
    return AdminClient(
        {
            **config.client,
            "log_level": 0,
            "topic.metadata.refresh.interval.ms": 2000,
            "socket.timeout.ms": 3000,
            "enable.sparse.connections": False,
        }
    )


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


async def identify_all(
    config: KafkaConfig, topics: Collection[str], timeout_s: float = 0.0
) -> dict[str, TopicIdentity]:
    """Asks the brokers which topics these are, in one request; for `timeout_s`, again where none answers.

    Raises:
        KafkaException: one of them is not there, or no broker answered.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await _identify_all(config, topics)
        except KafkaException as error:
            if not _passes(error, deadline):
                raise
        await asyncio.sleep(_PAUSE_S)


async def _identify_all(config: KafkaConfig, topics: Collection[str]) -> dict[str, TopicIdentity]:
    asked = _admin(config).describe_topics(TopicCollection(list(topics)), request_timeout=5)
    answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()))
    return {
        name: TopicIdentity(str(answer.topic_id), len(answer.partitions))
        for name, answer in zip(asked, answers, strict=True)
    }


async def held_s(config: KafkaConfig, topic: str) -> float:
    """For how long a message of a topic may be read, at most, in seconds: what is deleted is whole files.

    Infinite if nothing is ever deleted.

    Raises:
        KafkaException: no broker answers, or there is no such topic.
    """
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    answer = _admin(config).describe_configs([resource], request_timeout=10)[resource]
    settings = await asyncio.wrap_future(answer)
    retention_ms, segment_ms = (int(settings[name].value or -1) for name in ("retention.ms", "segment.ms"))
    return math.inf if retention_ms < 0 else (retention_ms + segment_ms) / 1000


async def bounds_of(
    config: KafkaConfig, partitions: Collection[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """The first offset that partitions (topic, number) hold, and the one that their next message gets.

    Raises:
        KafkaException: one of them is not there, or no broker answered.
    """
    admin = _admin(config)
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
