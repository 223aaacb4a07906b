"""A producer whose predecessors can't write any more: Kafka's transactions, for their fencing.

Whoever begins under a name puts an end to who wrote under it before: the broker
refuses what a frozen process still sends when it comes back. Readers see whole
portions only, and none that was given up (`isolation.level` is read_committed
by default).
https://kafka.apache.org/documentation/#semantics
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaException, Producer

from mesh.errors import MarqueeError, unavailable
from mesh.kafka.config import KafkaConfig
from mesh.kafka.portion import header_of

log = logging.getLogger(__name__)

_TRANSACTION_S: Final = 10.0


class FencedProducer:
    """Sends portions under a name, as the only one. Made by `begin`; after an error, to be made again."""

    def __init__(self, producer: Producer, timeout_s: float) -> None:
        self._producer = producer
        self._timeout_s = timeout_s
        self._sending = threading.Lock()

    @classmethod
    async def begin(cls, config: KafkaConfig, name: str) -> "FencedProducer":
        """Begins under that name; who had begun before can't send any more.

        Raises:
            MarqueeError: UNAVAILABLE `QUEUE_UNAVAILABLE`.
        """
        producer = Producer(
            {
                **config.client,
                "transactional.id": name,
                "transaction.timeout.ms": int(_TRANSACTION_S * 1000),
                "message.timeout.ms": int(config.timeout_s * 1000),
                "request.timeout.ms": max(1000, int(config.timeout_s * 500)),
                "socket.timeout.ms": 10_000,
                "compression.type": "lz4",
                "linger.ms": config.linger_ms,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 3,
            }
        )
        made = cls(producer, config.timeout_s)
        try:
            await asyncio.to_thread(producer.init_transactions, _TRANSACTION_S)
        except KafkaException as error:
            raise _refused(error) from error
        return made

    async def send_all(
        self, topic: str, messages: Sequence[tuple[bytes, bytes]], traces: Sequence[str] = ()
    ) -> list[bool]:
        """Sends (key, value)s, all or none; returns once they stand in the log, a True for each.

        `traces` are their `traceparent`s, empty where there is none.

        Raises:
            MarqueeError: UNAVAILABLE `QUEUE_UNAVAILABLE`: they may be in the log nevertheless.
        """
        try:
            await asyncio.to_thread(self._send, topic, messages, traces)
        except KafkaException as error:
            raise _refused(error) from error
        return [True] * len(messages)

    async def close(self) -> None:
        """Gives up what is under way, and leaves neither a connection nor a thread."""
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(self._close)

    def _send(self, topic: str, messages: Sequence[tuple[bytes, bytes]], traces: Sequence[str]) -> None:
        with self._sending:
            self._transact(topic, messages, traces)

    def _transact(self, topic: str, messages: Sequence[tuple[bytes, bytes]], traces: Sequence[str]) -> None:
        self._producer.begin_transaction()
        try:
            for number, (key, value) in enumerate(messages):
                self._producer.produce(topic, value, key, headers=header_of(traces, number))
                self._producer.poll(0)
            self._producer.commit_transaction(self._timeout_s * 2)
        except BufferError as error:
            self._producer.abort_transaction(self._timeout_s)
            raise KafkaException(str(error)) from error
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                self._producer.abort_transaction(self._timeout_s)
            raise

    def _close(self) -> None:
        self._producer.purge()
        # Who sent may be cancelled while its thread goes on: nothing may be destroyed below that.
        with self._sending:
            self._producer.close()


def _refused(error: KafkaException) -> MarqueeError:
    log.warning("Kafka refused a transaction: %s", error)
    return unavailable("QUEUE_UNAVAILABLE", "the log takes nothing now; try again", retry_after=2)
