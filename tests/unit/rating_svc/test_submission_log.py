"""Where a submission stands in the log, also if the brokers do not say it, and while the log grows."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from mesh.errors import MarqueeError, unavailable
from mesh.kafka import KafkaProducer
from mesh.kafka.producer import Sent
from mesh.postgres import Postgres
from rating_svc import submission_log
from rating_svc.registry import Life, Registry
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Position, Submission, decode, encode, encode_all

SUBMISSION = Submission("ann", 1, 9, uuid.uuid4(), 1_700_000_000_000_000)
HEADERS = {"traceparent": "00-1-2-01"}
UNKNOWN = -1
CLOSED = KafkaError.MSG_SIZE_TOO_LARGE
AWAY = KafkaError._MSG_TIMED_OUT

OLD = Life(7, "log", "old", 4, None)
NEXT = Life(8, "log.g2", "next", 8, None)


class Brokers:
    """A producer to whom brokers answer with these offsets: UNKNOWN where they had a retry's message."""

    def __init__(self, *offsets: int, refusing: Mapping[str, int] | None = None) -> None:
        self._offsets = iter(offsets)
        self._refusing = refusing or {}
        self.taken: list[tuple[str, int, bytes, bytes, Mapping[str, str]]] = []
        self._closes: dict[str, int] = {}

    def closes_after(self, count: int, topic: str) -> None:
        """Takes so many of the topic, and no more."""
        self._closes[topic] = count

    async def send(
        self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str], partition: int
    ) -> Sent:
        await asyncio.sleep(0)
        if (code := self._refusing.get(topic)) is not None:
            raise unavailable("QUEUE_UNAVAILABLE", "no", 2) from KafkaException(KafkaError(code))
        if self._closes.get(topic) == sum(taken[0] == topic for taken in self.taken):
            raise unavailable("QUEUE_UNAVAILABLE", "no", 2) from KafkaException(KafkaError(CLOSED))
        self.taken.append((topic, partition, key, value, headers))
        return Sent(partition, next(self._offsets))

    async def send_in_order(
        self, topic: str, key: bytes, values: Sequence[bytes], headers: Mapping[str, str], partition: int
    ) -> list[int | MarqueeError]:
        ends: list[int | MarqueeError] = []
        for value in values:
            try:
                ends.append((await self.send(topic, key, value, headers, partition)).offset)
            except MarqueeError as error:
                ends.append(error)
        return ends

    async def ping(self) -> None:
        if self._refusing:
            raise KafkaException(KafkaError(AWAY))


class Database:
    """Where the lives of the log are registered: one answer after another, the last one forever."""

    def __init__(self, *answers: Sequence[Life] | MarqueeError) -> None:
        self._answers = list(answers)
        self.asked: list[bool] = []

    async def fetch(self, query: str, *, fresh: bool) -> list[tuple[Any, ...]]:
        assert "FROM submission_log" in query
        self.asked.append(fresh)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, MarqueeError):
            raise answer
        return [(life.epoch, life.topic, life.topic_id, life.partitions, life.partition) for life in answer]


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_log, "_LOOK_S", 0.001)
    monkeypatch.setattr(submission_log, "_REFRESH_S", 0.001)


def log_of(
    brokers: Brokers, database: Database | None = None, lives: Sequence[Life] = (OLD,)
) -> SubmissionLog:
    return SubmissionLog(
        cast(KafkaProducer, brokers), cast(Postgres, database or Database(lives)), Registry(lives)
    )


async def test_a_submission_stands_where_the_brokers_put_it_also_as_the_very_first() -> None:
    brokers = Brokers(0)
    assert await log_of(brokers).append(SUBMISSION, HEADERS) == Position(7, 0)
    ((topic, partition, key, value, headers),) = brokers.taken
    assert (topic, partition, key) == ("log", OLD.partition_of("ann"), b"ann")
    assert decode(value) == SUBMISSION
    assert headers == HEADERS


async def test_in_a_partition_that_lost_its_end_a_submission_is_later_than_all_before_it() -> None:
    cut = Life(9, "log", "old", 4, OLD.partition_of("ann"))
    assert await log_of(Brokers(2), lives=[OLD, cut]).append(SUBMISSION, HEADERS) == Position(9, 2)


async def test_a_submission_whose_offset_is_not_known_is_written_again() -> None:
    brokers = Brokers(UNKNOWN, 0)
    assert await log_of(brokers).append(SUBMISSION, HEADERS) == Position(7, 0)
    # The same one, so that it takes effect once.
    assert brokers.taken[0] == brokers.taken[1]


async def test_a_submission_that_can_not_be_placed_is_not_answered_with_ok() -> None:
    with pytest.raises(MarqueeError) as caught:
        await log_of(Brokers(UNKNOWN, UNKNOWN)).append(SUBMISSION, HEADERS)
    assert (caught.value.reason, caught.value.retry_after) == ("QUEUE_UNAVAILABLE", 1)


async def test_what_a_closed_topic_refuses_goes_into_the_next_one_as_it_is() -> None:
    brokers = Brokers(3, refusing={"log": CLOSED})
    # The primary is away for a moment, and does not know of the next topic at once.
    database = Database(unavailable("DATABASE_UNAVAILABLE", "away", 2), [OLD], [OLD, NEXT])
    assert await log_of(brokers, database).append(SUBMISSION, HEADERS) == Position(8, 3)
    ((topic, partition, key, value, headers),) = brokers.taken
    assert (topic, partition, key) == ("log.g2", NEXT.partition_of("ann"), b"ann")
    assert decode(value) == SUBMISSION
    assert headers == HEADERS
    assert database.asked == [True] * 3, "a replica may not know it yet"


async def test_all_who_wait_for_the_next_topic_share_one_look() -> None:
    database = Database([OLD], [OLD, NEXT])
    log = log_of(Brokers(*range(20), refusing={"log": CLOSED}), database)
    found = await asyncio.gather(*(log.append(SUBMISSION, HEADERS) for _ in range(20)))
    assert {position.epoch for position in found} == {8}
    assert len(database.asked) == 2


async def test_where_no_next_topic_comes_the_write_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_log, "_NEXT_S", 0.05)
    with pytest.raises(MarqueeError, match="no"):
        async with asyncio.timeout(60):
            await log_of(Brokers(refusing={"log": CLOSED})).append(SUBMISSION, HEADERS)


async def test_a_write_that_fails_for_another_reason_waits_for_no_next_topic() -> None:
    database = Database([OLD])
    with pytest.raises(MarqueeError, match="no"):
        await log_of(Brokers(refusing={"log": AWAY}), database).append(SUBMISSION, HEADERS)
    assert database.asked == []


async def test_new_topics_are_learnt_of_also_after_the_database_was_away() -> None:
    brokers = Brokers(5)
    database = Database(unavailable("DATABASE_UNAVAILABLE", "away", 2), [OLD, NEXT])
    log = log_of(brokers, database)
    following = asyncio.create_task(log.follow())
    async with asyncio.timeout(60):
        while len(database.asked) < 3:
            assert not following.done(), following
            await asyncio.sleep(0.001)
    following.cancel()
    assert not any(database.asked), "any server may answer: nobody waits for it"
    assert await log.append(SUBMISSION, HEADERS) == Position(8, 5)


async def test_it_is_healthy_where_its_topic_is_known_and_a_broker_answers() -> None:
    await log_of(Brokers()).ping()
    with pytest.raises(KafkaException):
        await log_of(Brokers(refusing={"log": AWAY})).ping()
    with pytest.raises(MarqueeError) as caught:
        await log_of(Brokers(), lives=()).ping()
    assert caught.value.reason == "QUEUE_UNAVAILABLE"


async def test_what_comes_before_the_log_is_registered_may_be_tried_again() -> None:
    with pytest.raises(MarqueeError) as caught:
        await log_of(Brokers(), lives=()).append(SUBMISSION, HEADERS)
    assert (caught.value.reason, caught.value.retry_after) == ("QUEUE_UNAVAILABLE", 1)


MANY = [
    Submission("ann", movie, score, uuid.uuid4(), 1_700_000_000_000_000)
    for movie, score in ((1, 9), (2, None), (1, 3), (4, 10))
]


def test_submissions_encoded_together_are_what_they_are_alone() -> None:
    assert [decode(value) for value in encode_all(MANY)] == MANY
    assert encode_all(MANY) == [encode(submission) for submission in MANY]


async def test_many_submissions_of_a_user_stand_in_their_order() -> None:
    brokers = Brokers(5, 6, 7, 8)
    assert await log_of(brokers).append_all("ann", MANY, HEADERS) == [
        Position(7, offset) for offset in (5, 6, 7, 8)
    ]
    assert [decode(value) for _, _, _, value, _ in brokers.taken] == MANY
    assert {taken[:3] for taken in brokers.taken} == {("log", OLD.partition_of("ann"), b"ann")}
    assert all(taken[4] == HEADERS for taken in brokers.taken)


async def test_of_many_only_those_without_a_place_are_written_again() -> None:
    brokers = Brokers(5, UNKNOWN, 7, UNKNOWN, 9, UNKNOWN)
    first, second, third, fourth = await log_of(brokers).append_all("ann", MANY, HEADERS)
    assert [first, second, third] == [Position(7, 5), Position(7, 9), Position(7, 7)]
    assert isinstance(fourth, MarqueeError)
    assert (fourth.reason, fourth.retry_after) == ("QUEUE_UNAVAILABLE", 1)
    assert [decode(value) for _, _, _, value, _ in brokers.taken[4:]] == [MANY[1], MANY[3]]


async def test_what_a_closed_topic_refuses_of_many_goes_into_the_next_one() -> None:
    brokers = Brokers(5, 6, 0, 1)
    brokers.closes_after(2, "log")
    places = await log_of(brokers, Database([OLD], [OLD, NEXT])).append_all("ann", MANY, HEADERS)
    assert places == [Position(7, 5), Position(7, 6), Position(8, 0), Position(8, 1)]
    assert [(taken[0], decode(taken[3])) for taken in brokers.taken[2:]] == [
        ("log.g2", MANY[2]),
        ("log.g2", MANY[3]),
    ]


async def test_of_many_that_fail_each_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_log, "_NEXT_S", 0.05)
    for code in (CLOSED, AWAY):
        async with asyncio.timeout(60):
            ends = await log_of(Brokers(refusing={"log": code})).append_all("ann", MANY, HEADERS)
        assert [end.message for end in ends if isinstance(end, MarqueeError)] == ["no"] * 4
    ends = await log_of(Brokers(), lives=[]).append_all("ann", MANY, HEADERS)
    assert [end.reason for end in ends if isinstance(end, MarqueeError)] == ["QUEUE_UNAVAILABLE"] * 4
    assert await log_of(Brokers()).append_all("ann", [], HEADERS) == []
