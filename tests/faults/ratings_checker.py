"""The fault checker: authors write while parts break; then every promise of the write path is checked.

`python -m tests.faults.ratings_checker --seed 7 --seconds 60` runs it on a stack
of its own, with whichever parts are named to be broken.
"""

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
from confluent_kafka import Consumer, TopicPartition
from marquee.ratings.v1 import ratings_pb2 as pb
from marquee.ratings.v1.events_pb2 import RatingChanged

from mesh.local.stack import Home, Stack
from rating_svc import topics
from rating_svc.config import LogConfig
from tests.conftest import running
from tests.faults.ratings_authors import Author, Journal
from tests.faults.ratings_breaker import Breaker, Keeper, Part, store_part
from tests.faults.ratings_parts import Role, User, eventually, movie_name, totals

STORES = ("postgres", "postgres-replica", "redis", "kafka")
ROLES = ("serve", "worker", "relay")

_CONVERGE_S = 120.0
_SHOWN = 20
_MOVIES = range(5_000_001, 5_000_013)
_ENVIRONMENT = {
    "MARQUEE_KAFKA_SESSION_TIMEOUT_S": "6",
    # A starved test machine must not look like a Redis that is away: those reads may be stale.
    "MARQUEE_REDIS_TIMEOUT_S": "1.5",
}

Histogram = dict[str, list[int]]
MakeRole = Callable[..., Role]


@dataclass
class Findings:
    """What came of a run."""

    journal: Journal
    faults: int
    broken: list[str] = field(default_factory=list)
    """Promises that were broken, in words."""


async def check(
    stack: Stack,
    logs: Path,
    *,
    seed: int,
    seconds: float,
    breaks: Sequence[str] = (*STORES, *ROLES),
    authors: int = 25,
    make_role: MakeRole = Role,
    say: Callable[[str], None] = print,
) -> Findings:
    """Runs authors and faults on a stack, and gives what was found.

    Args:
        breaks: names of stores and roles whose processes are killed and frozen.
        make_role: makes the processes; a test plants its bugs here.
    """
    say(f"seed {seed}")
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {text}")

    roles = [
        make_role(stack, role, logs, **_ENVIRONMENT)
        for role in ("serve", "serve", "worker", "worker", "relay", "relay")
    ]
    async with Keeper(roles) as keeper, contextlib.AsyncExitStack() as exits:
        channels = [await exits.enter_async_context(_channel(role)) for role in roles if role.role == "serve"]
        parts = [part for part in keeper.parts() if part.name.split()[0] in breaks]
        parts += [store_part(stack, name) for name in STORES if name in breaks]
        journal = Journal()
        crowd = [Author(f"author{i}", seed, channels, _MOVIES, journal) for i in range(authors)]
        faults = await _trouble(crowd, parts, seed, seconds, tell)
        findings = Findings(journal, faults)
        tell(f"mended after {faults} faults; {journal.acknowledged} writes acknowledged")
        await _converge(stack, findings)
        await _compare(stack, channels, crowd, findings)
        tell("compared")
    return findings


async def _trouble(
    crowd: Sequence[Author], parts: Sequence[Part], seed: int, seconds: float, tell: Callable[[str], None]
) -> int:
    enough = asyncio.Event()
    writing = asyncio.gather(*(author.run(enough) for author in crowd))
    breaker = Breaker(parts, seed, tell)
    if parts:
        await breaker.run(seconds)
    else:
        await asyncio.sleep(seconds)
    enough.set()
    await asyncio.wait_for(writing, _CONVERGE_S)
    return breaker.count


async def _converge(stack: Stack, findings: Findings) -> None:
    """Waits until all of the log is dealt with and all changes are published."""
    try:
        await eventually(lambda: asyncio.to_thread(_drained, stack), _CONVERGE_S, 0.2)

        async def published() -> bool:
            return not await _sql(stack, "SELECT 1 FROM outbox LIMIT 1")

        await eventually(published, _CONVERGE_S, 0.2)
    except AssertionError as error:
        findings.broken.append(f"it did not converge: {error}")


async def _compare(
    stack: Stack, channels: Sequence[grpc.aio.Channel], crowd: Sequence[Author], findings: Findings
) -> None:
    broken = findings.broken
    expected = {
        (author.name, movie): score
        for author in crowd
        for movie, score in author.expected.items()
        if score is not None
    }
    rows = await _sql(stack, "SELECT user_id, movie_id, score FROM ratings WHERE score IS NOT NULL")
    stored = {(row["user_id"], row["movie_id"]): row["score"] for row in rows}
    for key in sorted(expected.keys() | stored.keys()):
        if expected.get(key) != stored.get(key):
            broken.append(f"{key}: acknowledged was {expected.get(key)}, stored is {stored.get(key)}")
    recount: Histogram = {}
    for (_, movie), score in stored.items():
        recount.setdefault(movie_name(movie), [0] * 10)[score - 1] += 1
    events = await asyncio.to_thread(_changes, stack)
    summed = {movie: counts for movie, counts in _summed(events).items() if any(counts)}
    if summed != recount:
        broken.append(f"the changes add up to {summed}, the ratings to {recount}")

    async def counted() -> bool:
        return await totals(channels[0]) == recount

    try:
        await eventually(counted, 20)
    except AssertionError:
        broken.append("StreamTotals differs from a recount")
    for author in crowd:
        for channel in channels:
            listed = await User(channel, author.name).list_all(page_size=5)
            seen = {rating.movie: rating.score for rating in listed}
            own = {movie_name(m): score for m, score in author.expected.items() if score is not None}
            if seen != own:
                broken.append(f"{author.name} sees {seen}, acknowledged was {own}")
            if any(rating.state != pb.Rating.STATE_ACTIVE for rating in listed):
                broken.append(f"{author.name} still sees pending ratings")
    letters = await asyncio.to_thread(_count, stack, topics.DEAD_LETTERS)
    if letters:
        broken.append(f"{letters} dead letters")
    broken += findings.journal.unexpected


def _summed(events: dict[int, RatingChanged]) -> Histogram:
    """What a reader that counts each event id once comes to."""
    sums: Histogram = {}
    for event in events.values():
        counts = sums.setdefault(event.movie, [0] * 10)
        if event.HasField("old_score"):
            counts[event.old_score - 1] -= 1
        if event.HasField("new_score"):
            counts[event.new_score - 1] += 1
    return sums


async def _sql(stack: Stack, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.dsn("rating_svc"), timeout=5)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _channel(role: Role) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    async with grpc.aio.insecure_channel(role.address, options) as channel:
        yield channel


def _consumer(stack: Stack, group: str) -> Consumer:
    return Consumer({"bootstrap.servers": stack.kafka_bootstrap, "group.id": group, "log_level": 0})


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in known}


def _drained(stack: Stack) -> bool:
    consumer = _consumer(stack, LogConfig().worker_group)
    try:
        ends = _ends(consumer, topics.SUBMITTED)
        committed = consumer.committed([TopicPartition(topics.SUBMITTED, p) for p in ends], 10)
        return all(max(at.offset, 0) >= ends[at.partition] for at in committed)
    finally:
        consumer.close()


def _count(stack: Stack, topic: str) -> int:
    consumer = _consumer(stack, "nobody")
    try:
        return sum(_ends(consumer, topic).values())
    finally:
        consumer.close()


def _changes(stack: Stack) -> dict[int, RatingChanged]:
    """All changes by event id; a change that was published twice stands once."""
    consumer = _consumer(stack, "nobody")
    try:
        left = {p: end for p, end in _ends(consumer, topics.CHANGED).items() if end}
        consumer.assign([TopicPartition(topics.CHANGED, p, 0) for p in left])
        found: dict[int, RatingChanged] = {}
        while left:
            for message in consumer.consume(1000, 0.5):
                event = RatingChanged.FromString(message.value() or b"")
                found[event.event_id] = event
                if (message.offset() or 0) + 1 >= left.get(message.partition() or 0, 0):
                    left.pop(message.partition() or 0, None)
        return found
    finally:
        consumer.close()


def report(findings: Findings) -> str:
    """A run in a few lines."""
    journal = findings.journal
    lines = [
        f"{journal.acknowledged} writes acknowledged of {journal.attempts} attempts; "
        f"{journal.repeats} repeats; {findings.faults} faults; slowest write {journal.slowest_s:.1f} s",
        f"errors: {dict(journal.errors)}",
        f"stale reads: {len(journal.stale)}",
        *(f"  {text}" for text in journal.stale[:_SHOWN]),
        f"broken promises: {len(findings.broken)}",
        *(f"  {text}" for text in findings.broken[:_SHOWN]),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.ratings_checker", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long parts are broken")
    parser.add_argument("--authors", type=int, default=25)
    parser.add_argument(
        "--break", dest="breaks", nargs="*", default=[*STORES, *ROLES], choices=[*STORES, *ROLES]
    )
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="marquee-ratings-") as folder,
        running(Home(Path(folder)), ["infra"]) as stack,
    ):
        findings = asyncio.run(
            check(
                stack,
                Path(folder),
                seed=given.seed,
                seconds=given.seconds,
                breaks=given.breaks,
                authors=given.authors,
            )
        )
    print(report(findings))
    raise SystemExit(1 if findings.broken else 0)


if __name__ == "__main__":
    main()
