"""Topics are made and known also where the brokers say nothing for a while: no process ends for that."""

import signal
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest

from local.stack.layout import Stack
from mesh.kafka import KafkaConfig, Topic, ensure_topics, identify_all, topics
from tests.support.parts import pids_of, send

# Longer than a client waits for an answer.
SILENCE_S = 4.5

Silence = Callable[[], None]


@pytest.fixture
def config(stack: Stack) -> KafkaConfig:
    return KafkaConfig(bootstrap=stack.kafka_bootstrap)


@pytest.fixture
def silence(stack: Stack) -> Iterator[Silence]:
    """Lets Kafka hang from now on, for a while."""
    pids = pids_of(stack, "kafka")
    goes_on = threading.Timer(SILENCE_S, lambda: send(pids, signal.SIGCONT))

    def begin() -> None:
        send(pids, signal.SIGSTOP)
        goes_on.start()

    yield begin
    assert goes_on.ident, "it did not hang"
    goes_on.join()


def once_known(monkeypatch: pytest.MonkeyPatch, silence: Silence) -> None:
    """It hangs as soon as it has told which topics there are: what comes next gets no answer."""
    real, calls = topics._topic_names, [silence]

    def names(config: KafkaConfig, timeout_s: float) -> set[str]:
        found = real(config, timeout_s)
        if calls:
            calls.pop()()
        return found

    monkeypatch.setattr(topics, "_topic_names", names)


async def test_a_topic_is_made_by_a_broker_that_hangs_when_it_is_asked(
    config: KafkaConfig, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(f"test.{uuid.uuid4().hex}", partitions=2)
    once_known(monkeypatch, silence)
    await ensure_topics(config, [topic])
    assert (await identify_all(config, [topic.name]))[topic.name].partitions == 2


async def test_a_topic_that_is_there_is_looked_at_once_the_broker_answers(
    config: KafkaConfig, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(f"test.{uuid.uuid4().hex}", 1, retention_s=3600, config={"segment.ms": "600000"})
    await ensure_topics(config, [topic])
    once_known(monkeypatch, silence)
    await ensure_topics(config, [topic])


async def test_which_topics_these_are_is_asked_again_while_nobody_answers(
    config: KafkaConfig, silence: Silence
) -> None:
    topic = Topic(f"test.{uuid.uuid4().hex}", partitions=3)
    await ensure_topics(config, [topic])
    silence()
    assert (await identify_all(config, [topic.name], timeout_s=60))[topic.name].partitions == 3
