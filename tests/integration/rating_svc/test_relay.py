"""The relay: every committed change reaches the topic, whatever becomes of relays and their sessions."""

import asyncio
import contextlib
import dataclasses
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from confluent_kafka import Consumer, TopicPartition
from marquee.ratings.v1.events_pb2 import RatingChanged

from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh.kafka import KafkaProducer, Topic, ensure_topics
from mesh.kafka.producer import PRODUCED
from mesh.kafka.topics import alter_topic, bounds_of
from mesh.outbox import Relay
from mesh.tasks import end
from mesh.turns import Turns
from rating_svc import changes, metrics, topics
from tests.support.ratings import RatingProcess
from tests.support.ratings_rig import Rig, rig, submission
from tests.support.waiting import eventually

_ACTIVE = "marquee_rating_relay_active"


@pytest.fixture
async def bench(stack: Stack) -> AsyncIterator[Rig]:
    async with rig(stack) as made:
        await ensure_topics(made.kafka, [Topic(topics.SUBMITTED, 4), Topic(topics.CHANGED, 4)])
        yield made


@pytest.fixture
def relay(stack: Stack, bench: Rig, tmp_path: Path) -> Callable[[], RatingProcess]:
    """Makes a relay of the rig's database. The topic of changes is everybody's."""
    return lambda: RatingProcess(
        stack, "relay", tmp_path, MARQUEE_PG_PRIMARY=bench.dsn, MARQUEE_RATING_RELAY_TAKEOVER_S="6"
    )


@pytest.fixture
def changed(stack: Stack) -> "Changes":
    return Changes(stack.kafka_bootstrap)


class Changes:
    """What comes to the topic of changes after this was made."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody", "log_level": 0})
        known = self._consumer.list_topics(topics.CHANGED, timeout=30).topics[topics.CHANGED].partitions
        ends = [
            TopicPartition(
                topics.CHANGED, p, self._consumer.get_watermark_offsets(TopicPartition(topics.CHANGED, p))[1]
            )
            for p in known
        ]
        self._consumer.assign(ends)
        self.events: list[RatingChanged] = []

    def read(self) -> list[RatingChanged]:
        """All that has come."""
        for message in self._consumer.consume(10_000, 0.2):
            self.events.append(RatingChanged.FromString(message.value() or b""))
        return self.events


async def submit_and_store(bench: Rig, count: int, score: int, movies: int = 5) -> None:
    wishes = [submission(f"user{i}", i % movies + 1, score) for i in range(count)]
    await bench.submit(wishes)
    async with bench.working():
        await bench.drained()


@contextlib.asynccontextmanager
async def relaying(
    bench: Rig, poll_s: float = 1.0, producer: KafkaProducer | None = None
) -> AsyncIterator[None]:
    """A relay in this process that has its turn, until the block ends."""
    relay = Relay(
        changes.outbox(),
        Turns(bench.postgres_config),
        lambda: contextlib.nullcontext(producer or bench.producer),
        changes.meters(0),
        poll_s=poll_s,
    )
    task = asyncio.create_task(relay.run())
    try:
        await eventually(lambda: metrics.RELAY_ACTIVE.labels(0)._value.get() == 1)
        yield
    finally:
        await end([task])


async def outbox_is_empty(bench: Rig) -> bool:
    return await bench.event_count() == 0


async def test_a_relay_hands_on_what_waited_and_what_comes_after_at_once(
    bench: Rig, relay: Callable[[], RatingProcess], changed: Changes
) -> None:
    await submit_and_store(bench, 2500, 5)
    assert await bench.event_count() == 2500
    async with relay():
        await eventually(lambda: outbox_is_empty(bench))
        events = await eventually(lambda: asyncio.to_thread(lambda: _if(changed.read(), 2500)))
        assert Counter(event.event_id for event in events).most_common(1)[0][1] == 1
        assert {(event.HasField("old_score"), event.new_score) for event in events} == {(False, 5)}
        await submit_and_store(bench, 10, 6)
        await eventually(lambda: outbox_is_empty(bench))
        events = await eventually(lambda: asyncio.to_thread(lambda: _if(changed.read(), 2510)))
        assert {(event.old_score, event.new_score) for event in events[2500:]} == {(5, 6)}


async def test_a_change_is_handed_on_at_once_and_not_when_the_table_is_looked_at_next(bench: Rig) -> None:
    async with relaying(bench, poll_s=3600):
        # The first may be found by the look with which a turn begins; nothing looks for the second.
        for score in (6, 7):
            await submit_and_store(bench, 10, score)
            await eventually(lambda: outbox_is_empty(bench))


async def test_another_relay_takes_over_from_one_that_died_or_hangs(
    bench: Rig, relay: Callable[[], RatingProcess], changed: Changes
) -> None:
    async with relay() as first:
        await eventually(lambda: first.metric(_ACTIVE))
        async with relay() as second:
            assert await second.metric(_ACTIVE) == 0
            # It hangs: its connection stands, and the database ends the session nevertheless.
            first.signal(signal.SIGSTOP)
            await submit_and_store(bench, 5, 5)
            await eventually(lambda: second.metric(_ACTIVE))
            await eventually(lambda: outbox_is_empty(bench))
            first.signal(signal.SIGCONT)

            async def stands_by() -> bool:
                return await first.metric(_ACTIVE) == 0

            await eventually(stands_by)
            await second.kill()
            await submit_and_store(bench, 5, 7)
            await eventually(lambda: first.metric(_ACTIVE))
            await eventually(lambda: outbox_is_empty(bench))
    events = await eventually(lambda: asyncio.to_thread(lambda: _if(changed.read(), 10)))
    assert len({event.event_id for event in events}) == 10
    assert Counter((event.old_score, event.new_score) for event in events) == {(0, 5): 5, (5, 7): 5}


async def test_a_relay_goes_on_after_the_database_threw_it_out(
    stack: Stack, bench: Rig, relay: Callable[[], RatingProcess], changed: Changes
) -> None:
    admin = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    async with relay() as only:
        await eventually(lambda: only.metric(_ACTIVE))
        name = bench.dsn.rpartition("/")[2]
        for score in (1, 2, 3):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )
            await submit_and_store(bench, 20, score)
            await eventually(lambda: outbox_is_empty(bench))
    await admin.close()
    events = await eventually(lambda: asyncio.to_thread(lambda: _if(changed.read(), 60)))
    assert len({event.event_id for event in events}) == 60


async def test_a_change_that_commits_late_is_not_passed_over(
    bench: Rig, relay: Callable[[], RatingProcess], changed: Changes
) -> None:
    """Numbers are drawn before the commit, so a lower one can appear after higher ones went out.

    It is of a worker of the release before, which draws the event's id too.
    """
    late = await asyncpg.connect(bench.dsn)
    transaction = late.transaction()
    await transaction.start()
    # A busy machine takes its time; the server would end the transaction.
    await late.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    await late.execute(
        "INSERT INTO outbox (movie_id, new_score, submit_time) VALUES (77, 7, '2026-01-01T00:00:00Z')"
    )
    async with relay():
        await submit_and_store(bench, 5, 5)
        await eventually(lambda: outbox_is_empty(bench))
        await transaction.commit()
        await eventually(lambda: outbox_is_empty(bench))
    await late.close()
    events = await eventually(lambda: asyncio.to_thread(lambda: _if(changed.read(), 6)))
    assert [event.event_id for event in events if event.movie == "movies/tt0000077"] == [1]


async def test_of_a_portion_of_which_the_log_took_some_the_others_stay_in_the_outbox(
    bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer takes ten at a time and refuses what is more, at once: that is handed on later."""
    topic = f"{bench.topic}.changed"
    monkeypatch.setattr(topics, "CHANGED", topic)
    await ensure_topics(bench.kafka, [Topic(topic, 1)])
    await submit_and_store(bench, 30, 5)

    narrow = KafkaProducer(dataclasses.replace(bench.kafka, max_in_flight=10))
    async with relaying(bench, producer=narrow):
        await eventually(lambda: outbox_is_empty(bench))
    await narrow.close()
    assert PRODUCED.labels(topic, "refused")._value.get() >= 2
    bounds = await bounds_of(bench.kafka, [(topic, 0)])
    assert bounds[topic, 0][1] == 30


async def test_what_the_log_did_not_take_stays_in_the_outbox(
    bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log refuses a whole portion, and takes it later."""
    topic = f"{bench.topic}.changed"
    monkeypatch.setattr(topics, "CHANGED", topic)
    await ensure_topics(bench.kafka, [Topic(topic, 1, config={"max.message.bytes": "1"})])
    await submit_and_store(bench, 30, 5)

    async with relaying(bench):
        refused = PRODUCED.labels(topic, "failed")
        await eventually(lambda: refused._value.get() >= 30)
        assert await bench.event_count() == 30
        await alter_topic(bench.kafka, topic, {"max.message.bytes": "100000"})
        await eventually(lambda: outbox_is_empty(bench))
    bounds = await bounds_of(bench.kafka, [(topic, 0)])
    assert bounds[topic, 0][1] >= 30


async def test_an_outbox_that_nobody_empties_grows_older(bench: Rig) -> None:
    def told(what: str) -> float | None:
        return metrics.RELAY.get_sample_value(f"marquee_rating_outbox_{what}", {"shard": "0"})

    watching = asyncio.create_task(changes.watch(bench.postgres, interval_s=0.05).run())
    await eventually(lambda: told("pending") == 0)
    assert told("oldest_seconds") == 0
    await submit_and_store(bench, 3, 3)
    await eventually(lambda: told("pending") == 3)
    first = await eventually(lambda: told("oldest_seconds"))
    await eventually(lambda: (told("oldest_seconds") or 0) > first + 0.5)
    async with bench.postgres.write() as connection:
        await connection.execute("DELETE FROM outbox")
    await eventually(lambda: (told("pending"), told("oldest_seconds")) == (0, 0))
    await end([watching])


def _if(events: list[RatingChanged], at_least: int) -> list[RatingChanged]:
    return events if len(events) >= at_least else []
