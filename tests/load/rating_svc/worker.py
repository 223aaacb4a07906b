"""What a rating costs the worker and its database, in CPU-µs, with full batches.

    python -m tests.load.rating_svc.worker [--count 60000]

Writes into the log first and starts the worker then, on stores of its own. CPU
counts from the worker's readiness until all is stored: its own, and that of
PostgreSQL's processes.
"""

import argparse
import asyncio
import random
import tempfile
import time
import uuid
from pathlib import Path

import asyncpg
import psutil

from local.stack import state as states
from local.stack.layout import Home, Stack
from mesh import clock
from mesh.kafka import KafkaConfig, KafkaProducer
from rating_svc import submissions, topics
from rating_svc.submissions import Submission
from tests.support.ratings import RatingProcess
from tests.support.stacks import running
from tests.support.waiting import eventually


def cpu_s(pid: int) -> float:
    """CPU time of a process with all that it ever started, in seconds."""
    process = psutil.Process(pid)
    every = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in every) + sum(process.cpu_times()[2:4])


async def fill(stack: Stack, count: int) -> None:
    producer = KafkaProducer(KafkaConfig(bootstrap=stack.kafka_bootstrap))
    chance, now = random.Random(1), clock.now_us()
    for start in range(0, count, 1000):
        wishes = [
            Submission(
                f"user-{(start + i) // 3}", chance.randrange(1, 5000), 1 + i % 10, uuid.uuid4(), now + i
            )
            for i in range(1000)
        ]
        await asyncio.gather(
            *(producer.send(topics.SUBMITTED, w.user.encode(), submissions.encode(w)) for w in wishes)
        )
    await producer.close()


async def main(arguments: argparse.Namespace, stack: Stack, logs: Path) -> None:
    async with RatingProcess(stack, "serve", logs):
        pass  # it makes the schema and the topics
    await fill(stack, arguments.count)
    connection = await asyncpg.connect(stack.dsn("rating_svc"))
    state = states.live(stack.home)
    assert state is not None
    postgres = state.processes["postgres"].pid
    worker = RatingProcess(stack, "worker", logs)
    worker.spawn()

    async def begun() -> bool:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM seen_requests)"))

    async def done() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM seen_requests") >= arguments.count)

    await eventually(begun, 60)
    stored = await connection.fetchval("SELECT count(*) FROM seen_requests")
    began, before = time.perf_counter(), (cpu_s(worker.pid), cpu_s(postgres))
    await eventually(done, 300, 0.25)
    after, count = (cpu_s(worker.pid), cpu_s(postgres)), arguments.count - stored
    took_s = time.perf_counter() - began
    own, database = ((b - a) / count * 1e6 for a, b in zip(before, after, strict=True))
    print(f"{count} ratings in {took_s:.1f} s, CPU-µs each: worker {own:.1f}, PostgreSQL {database:.1f}")
    await connection.close()
    await worker.__aexit__(None, None, None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60_000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Home(Path(folder) / "stack"), ["infra"]) as own_stack,
    ):
        asyncio.run(main(given, own_stack, Path(folder)))
