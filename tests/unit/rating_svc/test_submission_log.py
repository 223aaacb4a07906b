"""Where a submission stands in the log, also if the brokers do not say it."""

import uuid
from collections.abc import Mapping
from typing import Any, cast

import pytest

from mesh.errors import MarqueeError
from mesh.kafka import KafkaProducer
from mesh.kafka.producer import Sent
from mesh.postgres import Postgres
from rating_svc.registry import Life, Registry
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Position, Submission

SUBMISSION = Submission("ann", 1, 9, uuid.uuid4(), 1_700_000_000_000_000)
UNKNOWN = -1


class Brokers:
    """A producer to whom brokers answer with these offsets: UNKNOWN where they had a retry's message."""

    def __init__(self, *offsets: int) -> None:
        self._offsets = iter(offsets)
        self.taken: list[tuple[bytes, bytes]] = []

    async def send(
        self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str], partition: int
    ) -> Sent:
        self.taken.append((key, value))
        return Sent(partition, next(self._offsets))


def log_of(brokers: Brokers) -> SubmissionLog:
    registry = Registry([Life(7, "log", "id", 4, None)])
    return SubmissionLog(cast(KafkaProducer, brokers), cast(Postgres, cast(Any, None)), registry)


async def test_a_submission_whose_offset_is_not_known_is_written_again() -> None:
    brokers = Brokers(UNKNOWN, 12)
    assert await log_of(brokers).append(SUBMISSION, {}) == Position(7, 12)
    # The same one, so that it takes effect once.
    assert brokers.taken[0] == brokers.taken[1]


async def test_a_submission_that_can_not_be_placed_is_not_answered_with_ok() -> None:
    with pytest.raises(MarqueeError) as caught:
        await log_of(Brokers(UNKNOWN, UNKNOWN)).append(SUBMISSION, {})
    assert caught.value.reason == "QUEUE_UNAVAILABLE"
