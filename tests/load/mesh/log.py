"""What a message in the log costs broker and clients: `python -m tests.load.mesh.log [RATE] [SECONDS]`.

A broker of its own takes RATE messages a second, at random moments, into 12 (LOAD_PARTITIONS) partitions,
each acknowledged by itself as ratings are, and a consumer reads them in batches. CPU-µs a message of the
broker and of the two clients, and the requests of each kind that they made a message; and how long a message
was under way, to its acknowledgement and to the consumer. Settings are those of the environment
(`MARQUEE_KAFKA_…`); LOAD_PRODUCER and LOAD_CONSUMER may hold others of librdkafka's as JSON, to try them.
"""

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from local.commands import usage
from local.stack import state as states
from local.stack.layout import Home, Stack
from mesh.config import load
from mesh.kafka import BatchConsumer, KafkaConfig, KafkaProducer, Topic, consumer, ensure_topics, producer
from tests.support.stacks import running

PARTITIONS: Final = int(os.environ.get("LOAD_PARTITIONS", "12"))
TOPIC: Final = "load"
WARM_S: Final = 5.0
VALUE: Final = bytes(110)
"""As long as a submission."""


class Requests:
    """The requests that librdkafka's clients of this process have made, by kind."""

    def __init__(self) -> None:
        self._of: dict[str, Counter[str]] = {}
        for module, name in ((producer, "Producer"), (consumer, "Consumer")):
            setattr(module, name, self._counting(getattr(module, name), name))

    def now(self) -> Counter[str]:
        return sum(self._of.values(), Counter())

    def _counting(self, make: Callable[[dict[str, Any]], Any], name: str) -> Callable[[dict[str, Any]], Any]:
        """Makes clients that tell of their requests, with the settings that are tried."""
        tried = json.loads(os.environ.get(f"LOAD_{name.upper()}", "{}"))
        counted = {"statistics.interval.ms": 500, "stats_cb": self._heard}
        return lambda settings: make({**settings, **counted, **tried})

    def _heard(self, text: str) -> None:
        told = json.loads(text)
        found: Counter[str] = Counter()
        for broker in told["brokers"].values():
            found.update({kind: count for kind, count in broker["req"].items() if count})
        self._of[told["name"]] = found


class Load:
    """Messages on their way."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._producer = KafkaProducer(kafka)
        self._consumer = BatchConsumer(kafka, "load", [TOPIC])
        self._began = time.perf_counter()
        self.acknowledged: list[float] = []
        self.arrived: list[float] = []
        self.batches = 0

    async def one(self, chance: random.Random) -> None:
        sent = time.perf_counter()
        value = f"{sent:020.9f}".encode() + VALUE
        key = f"user-{chance.randrange(100_000)}".encode()
        await self._producer.send(TOPIC, key, value, {"x-request-id": key.decode()})
        self.acknowledged.append(time.perf_counter() - sent)

    async def send(self, rate: float, seconds: float) -> None:
        chance = random.Random(1)
        due, end = time.perf_counter(), time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            while due < end:
                due += chance.expovariate(rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self.one(chance))

    async def read(self) -> None:
        while True:
            batch = await self._consumer.next_batch(500, 1.0)
            now = time.perf_counter()
            self.arrived += [now - float(record.value[:20]) for record in batch]
            self.batches += bool(batch)
            await self._consumer.commit()

    def forget(self) -> None:
        self.acknowledged, self.arrived, self.batches = [], [], 0

    async def close(self) -> None:
        await self._producer.close()
        await self._consumer.close()


def cpu_s(stack: Stack) -> tuple[float, float]:
    """CPU time of the broker, and of this process, in seconds."""
    state = states.live(stack.home)
    assert state is not None
    broker = state.processes["kafka"].pid
    return usage.measure([broker])[broker].cpu_s, time.process_time()


def at(share: float, times: list[float]) -> str:
    return f"{1000 * sorted(times)[int(len(times) * share)]:.1f}"


async def run(stack: Stack, rate: float, seconds: float) -> None:
    requests = Requests()
    kafka = load(KafkaConfig, {"MARQUEE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap, **dict_of_settings()})
    await ensure_topics(kafka, [Topic(TOPIC, PARTITIONS)])
    under_way = Load(kafka)
    reading = asyncio.create_task(under_way.read())
    await under_way.send(rate, WARM_S)
    under_way.forget()
    before, asked = cpu_s(stack), requests.now()
    await under_way.send(rate, seconds)
    after, asked_since = cpu_s(stack), requests.now() - asked
    count = len(under_way.acknowledged)
    broker, own = ((a - b) * 1e6 / count for a, b in zip(after, before, strict=True))
    print(f"{count / seconds:.0f}/s: broker {broker:.0f}, clients {own:.0f} CPU-µs a message")
    for kind, number in asked_since.most_common(6):
        print(f"    {number / count:.3f} {kind}")
    print(f"    {count / max(1, under_way.batches):.1f} messages a batch")
    for name, times in (("acknowledged", under_way.acknowledged), ("read", under_way.arrived)):
        print(f"    {name} after {at(0.5, times)} ms (p50), {at(0.99, times)} (p99)")
    idle = cpu_s(stack)
    await asyncio.sleep(5)
    broker, own = ((a - b) * 1e3 / 5 for a, b in zip(cpu_s(stack), idle, strict=True))
    print(f"idle: broker {broker:.1f}, clients {own:.1f} CPU-ms a second")
    reading.cancel()
    await under_way.close()


def dict_of_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MARQUEE_KAFKA_")}


def main(rate: float = 900, seconds: float = 10) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="marquee-load-") as folder,
        running(Home(Path(folder)), ["kafka"]) as stack,
    ):
        uvloop.run(run(stack, rate, seconds))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
