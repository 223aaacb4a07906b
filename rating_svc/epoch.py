"""Which life of the log this is: offsets of another one would order submissions wrongly."""

import contextlib
import time
from typing import Final

from confluent_kafka import KafkaException

from mesh.kafka import KafkaConfig, TopicIdentity, identify
from mesh.postgres import Postgres
from rating_svc import store, topics
from rating_svc.config import LogConfig

_INTERVAL_S: Final = 5.0


class WrongLog(Exception):
    """The topic is not the one whose offsets the rows hold."""


class EpochGuard:
    """Compares the topic with the one that this epoch began with."""

    def __init__(
        self, kafka: KafkaConfig, postgres: Postgres, log: LogConfig, topic: str = topics.SUBMITTED
    ) -> None:
        self._kafka = kafka
        self._postgres = postgres
        self._epoch = log.epoch
        self._topic = topic
        self._expected: TopicIdentity | None = None
        self._next = 0.0

    async def begin(self) -> None:
        """Looks up, or writes down, which topic this epoch is.

        Raises:
            WrongLog: it is another one.
            KafkaException: no broker answered.
            MarqueeError: UNAVAILABLE, the database did not.
        """
        found = await identify(self._kafka, self._topic)
        async with self._postgres.write() as connection:
            epoch, topic_id, partitions = await store.register_log(
                connection, self._epoch, found.id, found.partitions
            )
        if epoch > self._epoch:
            raise WrongLog(
                f"MARQUEE_RATING_LOG_EPOCH is {self._epoch}, and the ratings are already in epoch {epoch}: "
                f"set it to {epoch} for all of rating_svc"
            )
        self._expected = TopicIdentity(topic_id, partitions)
        self._compare(found)

    async def check(self) -> None:
        """Looks again, every few seconds; while no broker answers there is nothing to fear.

        Raises:
            WrongLog: the topic was made anew, or has other partitions, since `begin`.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL_S
        with contextlib.suppress(KafkaException):
            self._compare(await identify(self._kafka, self._topic))

    def _compare(self, found: TopicIdentity) -> None:
        if found != self._expected:
            raise WrongLog(
                f"{self._topic} is not the topic that epoch {self._epoch} of the ratings began with: "
                f"it was made anew or got other partitions ({self._expected} → {found}). Offsets can't be "
                f"compared: set MARQUEE_RATING_LOG_EPOCH to {self._epoch + 1} and restart all of rating_svc"
            )
