"""What docs/capacity.md is made of, measured on the mesh that is up, with data.

    python -m tests.load.system.capacity measure    the cost of each kind of request, memory, bytes
    python -m tests.load.system.capacity check      a load at a hundredth of the last stage's peak

Each writes its file below k8s/capacity; `python -m k8s.capacity` makes the page of them. On the shape of
production (`--cluster`) instances of a process count together. Nothing else may run.
"""

import argparse
import asyncio
import datetime
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import asyncpg
import uvloop
from confluent_kafka import Consumer, TopicPartition

from k8s.capacity.model import FOLDER, Assumed, Measured
from k8s.capacity.page import plans
from local.commands import loadtest
from local.commands.edge_client import EdgeClient
from local.stack import state as states
from local.stack.layout import Stack, default_home
from rating_svc import topics
from tests.load.system.bench import used_when_idle

REMARK = """\
The costs were measured with all that the machine can do: then a statement, a message or a wake-up stands for
many requests. At a hundredth of the peak each request has its own, and costs more: where `measured ÷
predicted` is above one, a small stage needs so much more than the table says, which of its few cores is
little."""
USERS = 16
ROUNDS = 3
SETTLING_S = 2.0
HUNDREDTH = 100
# Decision 31: 232 MiB for 100,000 movies, of which 60 are there without any.
MOVIE_BYTES = (232 - 60) * 1024**2 / 100_000


def conditions(stack: Stack, seconds: float) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    load = os.getloadavg()[1]
    return (
        f"{today:%d %B %Y}, shape `{stack.shape.value}`, {os.cpu_count()} cores with a load of {load:.1f}, "
        f"MovieLens loaded, {seconds:g} s."
    )


def by_kind(used: Mapping[str, float]) -> dict[str, float]:
    """Instances of a process together."""
    summed: dict[str, float] = defaultdict(float)
    for name, value in used.items():
        summed[name.partition(".")[0]] += value
    return dict(summed)


async def closed_loop(stack: Stack, kind: str, seconds: float, idle: Mapping[str, float]) -> dict[str, float]:
    """CPU-µs of each process for a request of one kind."""
    pids = loadtest.pids(stack)
    movies = loadtest.known_movies(stack)
    client = EdgeClient(stack, "partner")
    answered = 0
    end = time.perf_counter() + seconds

    async def user(number: int) -> None:
        nonlocal answered
        chance = random.Random(f"{kind} {number}")
        while time.perf_counter() < end:
            answer = await loadtest.ask(client, kind, f"load-{number}", chance, movies)
            assert loadtest.is_right(kind, answer), answer
            answered += 1

    before, began = loadtest.cpu(pids), time.perf_counter()
    await asyncio.gather(*map(user, range(USERS)))
    await asyncio.sleep(SETTLING_S)
    after, took = loadtest.cpu(pids), time.perf_counter() - began
    client.close()
    used = {name: (after[name] - before[name]) * 1e6 - idle[name] * took for name in pids}
    print(f"{kind}: {answered} requests")
    return {name: max(0.0, round(value / answered, 1)) for name, value in by_kind(used).items()}


async def bytes_of_a_row(stack: Stack) -> float:
    connection = await asyncpg.connect(stack.dsn("rating_svc"))
    try:
        size, rows = await connection.fetchrow("""
            SELECT (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('ratings'))::float8,
                (SELECT count(*) FROM ratings)""")
    finally:
        await connection.close()
    return round(size / rows, 1)


def bytes_of_the_log(stack: Stack) -> float:
    """Of one rating in Kafka: in the log of submissions and among the changes, on one broker."""
    consumer = Consumer({"bootstrap.servers": stack.kafka_bootstrap, "group.id": "nobody", "log_level": 0})
    folder = stack.data / "kafka"
    total = 0.0
    try:
        for topic in (topics.SUBMITTED, topics.CHANGED):
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in partitions]
            messages = sum(high - low for low, high in marks)
            files = [path for path in folder.rglob("*.log") if path.parent.name.rpartition("-")[0] == topic]
            total += sum(path.stat().st_size for path in files) / messages
    finally:
        consumer.close()
    return round(total, 1)


async def measure(stack: Stack, seconds: float) -> None:
    pids = loadtest.pids(stack)
    idle = await used_when_idle(pids)
    cpu_us: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):  # whatever else the machine does makes a round dearer, never cheaper
        for kind in loadtest.KINDS:
            found = await closed_loop(stack, kind, seconds, idle)
            cpu_us[kind] = min(found, cpu_us.get(kind, found), key=lambda costs: sum(costs.values()))
    memory: dict[str, list[float]] = defaultdict(list)
    for name, each in loadtest.used(pids).items():
        memory[name.partition(".")[0]].append(each.memory_bytes / 1024**2)
    measured = Measured(
        made=conditions(stack, seconds)[:-1]
        + f" of each kind, {USERS} users in a closed loop, the cheapest of {ROUNDS} rounds.",
        cpu_us=cpu_us,
        memory_mib={name: round(max(many), 1) for name, many in memory.items() if name not in ("omdb",)},
        row_bytes=await bytes_of_a_row(stack),
        log_bytes=bytes_of_the_log(stack),
        movie_bytes=MOVIE_BYTES,
    )
    write(FOLDER / "measured.json", asdict(measured))


async def check(stack: Stack, seconds: float) -> None:
    measured, assumed = Measured.read(), Assumed.read()
    rate = round(plans(measured, assumed)[-1].peak / HUNDREDTH)
    pids = loadtest.pids(stack)
    movies = loadtest.known_movies(stack)
    idle = await used_when_idle(pids, 10)
    client = EdgeClient(stack, "partner")
    chance = random.Random(1)
    kinds, weights = list(assumed.mix), list(assumed.mix.values())
    latencies: list[float] = []
    failed = 0

    async def request(number: int, due: float) -> None:
        nonlocal failed
        kind = chance.choices(kinds, weights)[0]
        try:
            answer = await loadtest.ask(client, kind, f"load-{number % 500}", chance, movies)
            right = loadtest.is_right(kind, answer)
        except (OSError, TimeoutError):
            right = False
        if right:
            latencies.append(time.perf_counter() - due)
        else:
            failed += 1

    before, began = loadtest.cpu(pids), time.perf_counter()
    due = began
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(request(number, due))
    await asyncio.sleep(SETTLING_S)
    after, took = loadtest.cpu(pids), time.perf_counter() - began
    client.close()
    used = by_kind({name: (after[name] - before[name]) / took * 1000 for name in pids})
    mixed, idling = measured.of_mix(assumed.mix), by_kind(idle)
    rows = [
        (name, mixed.get(name, 0) * rate / 1000 + idling[name] / 1000, used[name])
        for name in sorted(used, key=lambda name: -used[name])
        if used[name] >= 1
    ]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    made = {"made": conditions(stack, seconds), "rate": rate, "seconds": seconds}
    write_check(made, sorted(latencies), failed, rows)


def write_check(
    made: dict[str, object], latencies: list[float], failed: int, rows: list[tuple[str, float, float]]
) -> None:
    """Writes and prints what a check found.

    Args:
        made: how it was made, and with which load.
        latencies: of the requests that were answered rightly, in seconds, the shortest first.
        failed: how many were not.
        rows: of each kind of process, and of all: its name, the millicores predicted and those measured.
    """
    answered = len(latencies)
    write(
        FOLDER / "checked.json",
        {
            **made,
            "answered": answered,
            "failed": failed,
            "p50_ms": round(1000 * latencies[answered // 2], 2),
            "p99_ms": round(1000 * latencies[int(answered * 0.99)], 2),
            "millicores": [(name, round(a, 1), round(b, 1)) for name, a, b in rows],
            "remark": REMARK,
        },
    )
    for name, predicted, was in rows:
        print(f"{name:24} predicted {predicted:6.0f} m, measured {was:6.0f} m")


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.load.system.capacity", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["measure", "check"])
    parser.add_argument("--seconds", type=float, help="of each kind; of the check")
    arguments = parser.parse_args()
    stack = states.running(default_home()).stack(default_home())
    if arguments.what == "measure":
        uvloop.run(measure(stack, arguments.seconds or 6))
    else:
        uvloop.run(check(stack, arguments.seconds or 60))


if __name__ == "__main__":
    main()
