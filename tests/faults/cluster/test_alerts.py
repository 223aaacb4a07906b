"""Alerts of what only a cluster can lose: a primary whose place another takes, and copies of partitions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from local.stack.layout import Home, Shape, Stack
from tests.support import hearing
from tests.support.hearing import Heard
from tests.support.parts import holder, hung, pid_of, pids_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SEEN = {"MarqueeFailover", "MarqueeUnderReplicated", "MarqueePartitionsOffline"}
ALONE = "test.one-copy"


@pytest.fixture(scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, Heard]]:
    home = Home(Path(tmp_path_factory.mktemp("alerts")))
    async with hearing.watched(home, "2s", ["rating_svc"], Shape.CLUSTER) as found:
        yield found


async def hears(heard: Heard, alert: str, status: str) -> None:
    await eventually(lambda: (alert, status) in heard.alerts, 120, 0.2, what=f"{alert} {status}")


async def leader_of(stack: Stack, topic: str) -> str:
    """The broker that leads the one partition of a topic."""
    admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})

    async def found() -> str:
        known = admin.list_topics(topic, 10)
        number = known.topics[topic].partitions[0].leader
        ports = {each: stack.port(each, "broker") for each in stack.names("kafka")}
        return next(
            (name for name, port in ports.items() if number >= 0 and known.brokers[number].port == port), ""
        )

    return await eventually(found, 30, 0.5, what=f"a leader of {topic}")


async def test_a_broker_that_hangs_is_heard_of_by_the_partitions_that_lack_it(
    watched: tuple[Stack, Heard],
) -> None:
    stack, heard = watched
    admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})
    for made in admin.create_topics([NewTopic(ALONE, 1, 1)]).values():
        made.result(30)
    heard.told.clear()
    with hung(pid_of(stack, await leader_of(stack, ALONE))):
        await hears(heard, "MarqueePartitionsOffline", "firing")
        await hears(heard, "MarqueeUnderReplicated", "firing")
    await hears(heard, "MarqueePartitionsOffline", "resolved")
    await hears(heard, "MarqueeUnderReplicated", "resolved")


async def test_another_primary_is_heard_of(watched: tuple[Stack, Heard]) -> None:
    """It ends a quarter of an hour later."""
    stack, heard = watched
    heard.told.clear()
    before = await holder(stack, "postgres", "leader")

    async def another() -> bool:
        return await holder(stack, "postgres", "leader") != before

    with hung(*pids_of(stack, before)):
        await hears(heard, "MarqueeFailover", "firing")
    # The old one thinks that it leads until it has looked.
    await eventually(another, 120, 0.5)
