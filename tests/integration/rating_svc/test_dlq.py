"""`marquee dlq` on the running mesh: what could not be processed is listed, shown, and sent again."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from marquee.ratings.v1.events_pb2 import RatingChanged, RatingSubmitted

from local.servers import probes
from local.stack.layout import Stack
from mesh.kafka import KafkaConfig, KafkaProducer
from rating_svc import topics
from tests.support.command import marquee, run
from tests.support.waiting import eventually

FUTURE = RatingSubmitted(schema_version=99, user="dlq", movie="movies/tt0111161").SerializeToString()
NO_CHANGE = RatingChanged(schema_version=1, event_id=2**62, movie="movies/tt0111161").SerializeToString()


@pytest.fixture
async def producer(mesh_stack: Stack) -> AsyncIterator[KafkaProducer]:
    made = KafkaProducer(KafkaConfig(bootstrap=mesh_stack.kafka_bootstrap))
    yield made
    await made.close()


async def ids(stack: Stack, *words: str) -> list[str]:
    listed = await asyncio.to_thread(run, stack.home, "dlq", "list", *words)
    assert listed.returncode == 0, listed.stderr
    return [line.split()[0] for line in listed.stdout.splitlines()]


@pytest.mark.parametrize(
    ("of", "topic", "value", "reason", "shown"),
    [
        ("submissions", topics.SUBMITTED, FUTURE, "UNKNOWN_SCHEMA_VERSION", '"schemaVersion": 99'),
        ("changes", topics.CHANGED, NO_CHANGE, "NO_CHANGE", f'"eventId": "{2**62}"'),
    ],
)
async def test_a_letter_is_listed_shown_and_sent_again(
    mesh_stack: Stack, producer: KafkaProducer, of: str, topic: str, value: bytes, reason: str, shown: str
) -> None:
    option = f"--of={of}"
    assert await ids(mesh_stack, option) == []
    await producer.send(topic, b"dlq", value)

    async def one() -> list[str]:
        return await ids(mesh_stack, option)

    (letter,) = await eventually(one, 90, 0.2)

    async def waits() -> bool:
        page = await probes.http(mesh_stack.port("rating_svc-worker", "metrics"), "/metrics")
        dead = f"{topic.removesuffix('.v1')}.dlq.v1"
        return f'marquee_dead_letters_waiting{{topic="{dead}"}} 1.0' in page.decode()

    await eventually(waits, 60, 0.5)
    told = marquee(mesh_stack.home, "dlq", "show", letter, option)
    assert f"marquee-reason: {reason}" in told
    assert shown in told
    # It can't be processed this time either, and comes back as another letter; the first is done with.
    assert "sent 1 dead letters again" in marquee(mesh_stack.home, "dlq", "redrive", option)

    async def another() -> list[str]:
        found = await ids(mesh_stack, option)
        return found if found != [letter] else []

    (again,) = await eventually(another, 90, 0.2)
    assert again != letter
    assert "sent 1 dead letters again" in marquee(mesh_stack.home, "dlq", "redrive", again, option)


def test_a_letter_that_is_not_there_is_named(mesh_stack: Stack) -> None:
    for verb in ("show", "redrive"):
        assert "has no letter 0:999999" in marquee(mesh_stack.home, "dlq", verb, "0:999999", code=1)
