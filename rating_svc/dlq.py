"""Dead letters for operators: what there is, what one holds, sending them again, and being done with them.

Works on any dead-letter topic whose letters say by the headers of
`mesh.kafka.dead_letters` where they come from. A letter that was sent again, or
discarded, is marked, by a message in its own topic that outlives it, and is not sent twice.
If it happens nevertheless, because two operators do it at once, it is harmless: a
submission keeps its request_id and its place in the order, a change its id.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf
from marquee.movies.v1.events_pb2 import MovieChanged
from marquee.ratings.v1.events_pb2 import RatingChanged, RatingSubmitted

from mesh.kafka import KafkaConfig, KafkaProducer
from mesh.kafka import dead_letters as every
from rating_svc import dead_letters, topics
from rating_svc.registry import Registry

_GROUP: Final = "marquee.dlq"
_TIMEOUT_S: Final = 5.0
_PORTION: Final = 500

_KINDS: Final[Mapping[str, type[Protobuf]]] = {topics.CHANGED: RatingChanged, topics.FACTS: MovieChanged}


REDRIVEN: Final = "marquee-redriven"
"""The header of a mark: it names the letter that was sent again, or discarded."""


class UnknownLetter(LookupError):
    """There is no such dead letter, or it was sent again or discarded already."""


class Routes:
    """Where letters go back to: submissions to the newest topic of the log, whichever they come from."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry

    def of(self, letter: "Letter") -> tuple[str, int]:
        """The topic and the partition; -1 if the key chooses it.

        Raises:
            UnknownLetter: the letter does not say where it comes from.
        """
        origin = letter.headers.get(every.TOPIC, "")
        if not origin:
            raise UnknownLetter(f"letter {letter.id} does not say which topic it comes from")
        lives = self._registry.lives if self._registry else ()
        if self._registry is None or all(life.topic != origin for life in lives):
            return origin, -1
        newest = self._registry.newest()
        return newest.topic, newest.partition_of(letter.key.decode(errors="replace"))


@dataclass(frozen=True)
class Letter:
    """A dead letter."""

    partition: int
    offset: int
    time: datetime
    key: bytes
    value: bytes
    headers: Mapping[str, str]

    @property
    def id(self) -> str:
        """Its name in the dead-letter topic: PARTITION:OFFSET."""
        return f"{self.partition}:{self.offset}"

    @property
    def record(self) -> str:
        """The message that it is: two letters may be of one."""
        return self.headers.get(every.RECORD, self.id)

    @property
    def reason(self) -> str:
        return self.headers.get(every.REASON, "")

    @property
    def error(self) -> str:
        return self.headers.get(every.ERROR, "")

    @property
    def origin(self) -> str:
        """The topic, partition and offset where it was first written."""
        where = (every.TOPIC, every.PARTITION, every.OFFSET)
        return "/".join(self.headers.get(name, "?") for name in where)


async def read(
    config: KafkaConfig, topic: str = topics.DEAD_LETTERS, *, redriven: bool = False
) -> list[Letter]:
    """Reads the dead letters, the oldest first; with `redriven` also those that were sent again.

    Raises:
        KafkaException: no broker answers, or there is no such topic.
    """
    return await asyncio.to_thread(_read, config, topic, redriven)


async def redrive(
    config: KafkaConfig,
    producer: KafkaProducer,
    ids: Collection[str] = (),
    topic: str = topics.DEAD_LETTERS,
    routes: Routes | None = None,
) -> list[Letter]:
    """Sends dead letters to where they come from: those of the given ids, or all not yet sent; returns them.

    After they were sent, `read` passes them over.

    Raises:
        UnknownLetter: there is none of an id.
        MarqueeError: UNAVAILABLE, the log did not take one; those before it were sent.
        KafkaException: no broker answers, or there is no such topic.
    """
    letters = await read(config, topic)
    if ids:
        letters = _named(letters, ids, topic)
    for start in range(0, len(letters), _PORTION):
        portion = letters[start : start + _PORTION]
        await asyncio.gather(*(_send_back(producer, letter, topic, routes or Routes()) for letter in portion))
    return letters


async def discard(
    config: KafkaConfig, producer: KafkaProducer, ids: Collection[str], topic: str = topics.DEAD_LETTERS
) -> list[Letter]:
    """Marks dead letters as done without sending them: of those that nobody will ever read; returns them.

    They stay in their topic for as long as it keeps messages, and `read` passes them over.

    Raises:
        UnknownLetter: there is none of an id.
        MarqueeError: UNAVAILABLE, the log did not take a mark; those before it were marked.
        KafkaException: no broker answers, or there is no such topic.
    """
    letters = _named(await read(config, topic), ids, topic)
    for letter in letters:
        await _mark(producer, letter, topic)
    return letters


def shown(letter: Letter) -> str:
    """All that a dead letter holds, as text."""
    lines = [f"{letter.id}  {letter.time.isoformat(timespec='milliseconds')}"]
    lines += [f"  {name}: {value}" for name, value in sorted(letter.headers.items())]
    lines.append(f"  key: {letter.key!r}")
    try:
        event = _KINDS.get(letter.headers.get(every.TOPIC, ""), RatingSubmitted).FromString(letter.value)
        lines.append(f"  value: {json_format.MessageToJson(event, indent=None)}")
    except DecodeError:
        lines.append(f"  value: {letter.value.hex(' ')}")
    return "\n".join(lines)


async def _send_back(producer: KafkaProducer, letter: Letter, topic: str, routes: Routes) -> None:
    to, partition = routes.of(letter)
    headers = dead_letters.redrive_headers(letter.headers)
    await producer.send(to, letter.key, letter.value, headers, partition=partition)
    await _mark(producer, letter, topic)


async def _mark(producer: KafkaProducer, letter: Letter, topic: str) -> None:
    await producer.send(topic, letter.key, b"", {REDRIVEN: letter.id}, partition=letter.partition)


def _named(letters: Sequence[Letter], ids: Collection[str], topic: str) -> list[Letter]:
    if unknown := set(ids) - {letter.id for letter in letters}:
        raise UnknownLetter(
            f"{topic} has no letter {', '.join(sorted(unknown))}, or it was sent again or discarded already"
        )
    return [letter for letter in letters if letter.id in ids]


def _consumer(config: KafkaConfig, topic: str) -> Consumer:
    return Consumer(
        {
            **config.client,
            "group.id": f"{_GROUP}.{topic}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )


def _read(config: KafkaConfig, topic: str, redriven: bool) -> list[Letter]:
    consumer = _consumer(config, topic)
    try:
        known = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if known.error is not None:
            raise KafkaException(known.error)
        starts, left = [], {}
        for at in consumer.committed([TopicPartition(topic, p) for p in known.partitions], _TIMEOUT_S):
            low, high = consumer.get_watermark_offsets(at, timeout=_TIMEOUT_S)
            start = low if redriven else max(low, at.offset)
            if start < high:
                starts.append(TopicPartition(topic, at.partition, start))
                left[at.partition] = high
        consumer.assign(starts)
        letters: list[Letter] = []
        marked: set[str] = set()
        while left:
            for message in consumer.consume(_PORTION, 0.2):
                if message.error() is not None:
                    raise KafkaException(message.error())
                letter = _letter(message)
                if REDRIVEN in letter.headers:
                    marked.add(letter.headers[REDRIVEN])
                else:
                    letters.append(letter)
                if letter.offset + 1 >= left.get(letter.partition, 0):
                    left.pop(letter.partition, None)
        letters.sort(key=lambda letter: (letter.time, letter.partition, letter.offset))
        return letters if redriven else _left(letters, marked)
    finally:
        consumer.close()


def _left(letters: Sequence[Letter], marked: Collection[str]) -> list[Letter]:
    """Without those that were sent again, each once: a batch that is read again writes its letters again."""
    done = {letter.record for letter in letters if letter.id in marked}
    kept: dict[str, Letter] = {}
    for letter in letters:
        if letter.record not in done:
            kept.setdefault(letter.record, letter)
    return list(kept.values())


def _letter(message: Message) -> Letter:
    pairs = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return Letter(
        message.partition() or 0,
        message.offset() or 0,
        datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        cast(bytes, message.key()) or b"",
        cast(bytes, message.value()) or b"",
        {name: (value or b"").decode(errors="replace") for name, value in pairs},
    )
