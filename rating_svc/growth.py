"""More partitions for the log of submissions, without a user's order being lost.

A user's submissions stay in one partition of one topic, whose offsets are their
order. So the log does not grow in its topic: a next generation of it is made,
and no submission may go into the old one once the first has gone into the new
one. The brokers see to that, not the fronts, of which one may be frozen and
come back: the old topic refuses whatever is sent to it from then on. (A broker
that becomes a partition's leader later has applied that setting before, since
both stand in KRaft's one order.)
"""

import asyncio
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from mesh.errors import MarqueeError
from mesh.kafka import KafkaConfig, KafkaProducer, ensure_topics, identify
from mesh.kafka.retention import Retention
from mesh.kafka.topics import alter_topic, bounds_of
from mesh.postgres import Postgres
from rating_svc import lives, topics
from rating_svc.registry import Life, Registry, next_name
from rating_svc.submissions import PROBE

CLOSED: Final = {"max.message.bytes": "1"}
OPEN: Final = {"max.message.bytes": str(1024 * 1024)}

_FENCE_S: Final = 15.0
_PAUSE_S: Final = 0.1
_STEADY_S: Final = 0.2


class CantGrow(Exception):
    """The log can't grow so, and is as it was."""


def refused(error: BaseException | None) -> bool:
    """Whether a topic refused a message since it is closed, or is not there any more."""
    while error is not None and not isinstance(error, KafkaException):
        error = error.__cause__
    return error is not None and error.args[0].code() in (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    )


async def grow(
    partitions: int, kafka: KafkaConfig, retention: Retention, postgres: Postgres, producer: KafkaProducer
) -> tuple[Life, float]:
    """Makes the next generation of the log. Safe to repeat after it failed half-way.

    Returns it, and for how long writes waited, in seconds: from when the old topic was closed until the new
    one was registered.

    Raises:
        CantGrow: it would not grow, or the old topic could not be closed.
        MarqueeError: UNAVAILABLE, the database is away, or no service has registered the log yet.
        KafkaException: the brokers are, or refused.
    """
    newest = Registry(await lives.known(postgres, fresh=True)).newest()
    if partitions <= newest.partitions:
        raise CantGrow(f"{newest.topic} has {newest.partitions} partitions: give more than that")
    began = time.monotonic()
    if newest.ends is None:
        await _close(newest, kafka, postgres, producer)
    made = await _open_next(newest, partitions, kafka, retention, postgres)
    return made, time.monotonic() - began


async def _close(old: Life, kafka: KafkaConfig, postgres: Postgres, producer: KafkaProducer) -> None:
    await alter_topic(kafka, old.topic, CLOSED)
    try:
        async with asyncio.timeout(_FENCE_S):
            every = range(old.partitions)
            await asyncio.gather(*(_await_refusal(old.topic, number, producer) for number in every))
            ends = await _ends(old, kafka)
            async with postgres.write() as connection:
                await lives.close(connection, old.topic_id, ends)
    except BaseException as error:
        await alter_topic(kafka, old.topic, OPEN)
        if isinstance(error, TimeoutError):
            raise CantGrow(f"not all leaders of {old.topic} closed it within {_FENCE_S:g} s") from error
        raise


async def _await_refusal(topic: str, partition: int, producer: KafkaProducer) -> None:
    """Waits until a partition's leader takes nothing any more. What it takes until then, workers ignore."""
    while True:
        try:
            await producer.send(topic, b"", b"", {PROBE: "1"}, partition=partition)
        except MarqueeError as error:
            if refused(error):
                return
        await asyncio.sleep(_PAUSE_S)


async def _ends(old: Life, kafka: KafkaConfig) -> list[int]:
    """Where the partitions end, once what was under way to the replicas has come there."""
    every = [(old.topic, number) for number in range(old.partitions)]
    before: object = None
    while (found := await bounds_of(kafka, every)) != before:
        before = found
        await asyncio.sleep(_STEADY_S)
    return [found[at][1] for at in every]


async def _open_next(
    old: Life, partitions: int, kafka: KafkaConfig, retention: Retention, postgres: Postgres
) -> Life:
    name = next_name(old.topic)
    await ensure_topics(kafka, [topics.generation_of_log(name, partitions, kafka, retention)])
    identity = await identify(kafka, name)
    async with postgres.write() as connection:
        found, _ = await lives.meet(connection, name, identity)
    return Registry(found).newest()
