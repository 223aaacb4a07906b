"""What the load scripts of ratings share: a mesh of their own, users at its edge, CPU times."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from local.commands import usage
from local.commands.edge_client import EdgeClient
from local.commands.movielens import sample_films
from local.stack import state as states
from local.stack.layout import Home, Stack
from rating_svc import topics
from rating_svc.config import WORKERS
from tests.support.stacks import running

MOVIES = [str(body["imdbID"]) for body in sample_films()]


@contextmanager
def mesh(instances: dict[str, int] | None = None) -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory(prefix="marquee-load-") as folder,
        running(Home(Path(folder)), [], instances) as stack,
    ):
        yield stack


class Latencies:
    """How long calls took, and how many failed."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.failed = 0

    def at(self, percent: float) -> float:
        """A percentile, in ms."""
        ordered = sorted(self.seconds) or [float("nan")]
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000

    def __str__(self) -> str:
        return (
            f"{len(self.seconds)} answered, {self.failed} failed; "
            f"p50 {self.at(50):.1f} ms, p90 {self.at(90):.1f}, p99 {self.at(99):.1f}, "
            f"longest {self.at(100):.0f}"
        )


async def write(client: EdgeClient, user: str, movie: str, score: int, into: Latencies) -> bool:
    """One PUT; returns whether it was taken."""
    began = time.perf_counter()
    try:
        answer = await client.put_rating(user, movie, score)
    except (ConnectionError, TimeoutError):
        into.failed += 1
        return False
    if answer.status != 200:
        into.failed += 1
        return False
    into.seconds.append(time.perf_counter() - began)
    return True


async def warm(stack: Stack, client: EdgeClient) -> None:
    """Makes every movie known and every process do its first of everything."""
    taken = Latencies()
    await asyncio.gather(*(write(client, f"warm-{i}", MOVIES[i % len(MOVIES)], 5, taken) for i in range(300)))
    await drained(stack)


def cpu_s(stack: Stack) -> dict[str, float]:
    """CPU time of each process with its descendants, in seconds."""
    state = states.live(stack.home)
    assert state is not None
    measured = usage.measure(process.pid for process in state.processes.values())
    return {name: measured[process.pid].cpu_s for name, process in state.processes.items()}


class Lag:
    """How many submissions the workers have not committed."""

    def __init__(self, stack: Stack) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": stack.kafka_bootstrap,
                "group.id": WORKERS,
                "log_level": 0,
            }
        )
        known = self._consumer.list_topics(topics.SUBMITTED, timeout=10).topics[topics.SUBMITTED]
        self._partitions = [TopicPartition(topics.SUBMITTED, p) for p in known.partitions]

    async def now(self) -> int:
        return await asyncio.to_thread(self._now)

    def close(self) -> None:
        self._consumer.close()

    def _now(self) -> int:
        done = self._consumer.committed(self._partitions, 10)
        ends = [self._consumer.get_watermark_offsets(p, timeout=10)[1] for p in self._partitions]
        return sum(end - max(at.offset, 0) for end, at in zip(ends, done, strict=True))


async def drained(stack: Stack) -> None:
    """Waits until the workers have processed everything."""
    lag = Lag(stack)
    try:
        while await lag.now():
            await asyncio.sleep(0.1)
    finally:
        lag.close()


async def votes(client: EdgeClient, movie: str) -> int:
    """A movie's votes as the edge answers past its cache, which may be a second old; -1 without an answer."""
    try:
        answer = await client.get(f"/v1/movies/{movie}/score", "onlooker", "Cache-Control: no-cache\r\n")
    except (ConnectionError, TimeoutError):
        return -1
    return int(json.loads(answer.body).get("votes", 0)) if answer.status == 200 else -1


def table(rows: Sequence[Sequence[object]]) -> str:
    """Columns, the first to the left and the others to the right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (str(cell) for cell in row)
        cells = [first.ljust(widths[0]), *(o.rjust(w) for o, w in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells))
    return "\n".join(lines)
