"""Messages that can never be taken: set aside with the reason, and only so many of them.

One odd message is its sender's accident; very many are a bad release, of the
sender or of this consumer, and setting them all aside would empty the topic
into a place that nobody reads.
"""

import logging
import time
from collections import deque

from mesh.kafka import KafkaProducer, Record
from ranking_svc import metrics
from ranking_svc.events import PoisonError
from ranking_svc.topics import DEAD_LETTERS

log = logging.getLogger(__name__)


class TooManyError(RuntimeError):
    """The limit is reached: nothing more may be set aside, and so nothing more be read."""


class DeadLetters:
    """The dead-letter topic, with its limit: `limit` letters within any `window_s` seconds."""

    def __init__(self, producer: KafkaProducer, limit: int, window_s: float) -> None:
        self._producer = producer
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=limit)

    async def put(self, record: Record, error: PoisonError) -> None:
        """Sets a message aside, as it came, with where it stood and why it can't be taken.

        Raises:
            TooManyError: the limit is reached.
            MarqueeError: UNAVAILABLE if Kafka does not take it.
        """
        now = time.monotonic()
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._window_s:
            raise TooManyError(
                f"{len(self._times)} messages of {record.topic} were dead letters within "
                f"{self._window_s:g} s, and there are more, such as offset {record.offset} of partition "
                f"{record.partition} ({error.reason}: {error}): roll back what sends or reads them"
            )
        await self._producer.send(
            DEAD_LETTERS.name,
            record.key,
            record.value,
            {
                **record.headers,
                "marquee-reason": error.reason,
                "marquee-error": str(error),
                "marquee-topic": record.topic,
                "marquee-partition": str(record.partition),
                "marquee-offset": str(record.offset),
            },
        )
        self._times.append(now)
        metrics.EVENTS.labels("dead").inc()
        log.error(
            "dead letter: %s/%d offset %d: %s: %s",
            record.topic,
            record.partition,
            record.offset,
            error.reason,
            error,
        )
