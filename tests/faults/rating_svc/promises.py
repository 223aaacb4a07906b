"""What must hold after the faults: each promise is compared with what the authors remember.

Nothing here asks the code under test how it came to its numbers: ratings and
aggregates are read from the tables, changes from the topic, charts and lists
through the edge, and what they should be is counted again.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
from confluent_kafka import Consumer, TopicPartition
from marquee.ratings.v1.events_pb2 import RatingChanged

from local.commands import admin, chart, recount
from local.commands.movielens import Rating
from local.stack.layout import Stack, StackError
from mesh import names
from mesh.errors import MarqueeError
from ranking_svc import topics as ranking_topics
from rating_svc import topics
from tests.faults.rating_svc.authors import Author
from tests.support import fences
from tests.support.waiting import eventually

Histogram = list[int]

_CONVERGE_S = 120.0
_FOLLOW_S = 20.0
_PAGE = 7
_NONE: Histogram = [0] * 10


async def converge(stack: Stack, broken: list[str]) -> None:
    """Waits until all of the log is stored, all changes are handed on, and all of those are counted."""

    async def handed_on() -> bool:
        return not await _sql(stack, "rating_svc", "SELECT FROM outbox LIMIT 1")

    try:
        stage = "the workers"
        await fences.stored(stack, _CONVERGE_S)
        stage = "the relay"
        await eventually(handed_on, _CONVERGE_S, 0.2)
        stage = "the consumers of rankings"
        await fences.counted(stack, _CONVERGE_S)
    except (AssertionError, MarqueeError) as error:
        broken.append(f"it did not converge, at {stage}: {error}")


async def compare(stack: Stack, authors: Sequence[Author]) -> list[str]:
    """All promises that were broken, in words."""
    expected = {
        (author.name, movie): score
        for author in authors
        for movie, score in author.expected.items()
        if score is not None
    }
    return [
        *await _every_acknowledged_write_took_effect(stack, authors),
        *await _the_last_one_stands(stack, expected),
        *await _no_change_counts_twice(stack, expected),
        *await _aggregates_are_a_recount(stack, expected),
        *await _authors_see_their_own(authors),
        *await asyncio.to_thread(_the_chart_is_right, stack, expected),
        *await asyncio.to_thread(_nothing_is_dead, stack),
    ]


async def _every_acknowledged_write_took_effect(stack: Stack, authors: Sequence[Author]) -> list[str]:
    """Also those that a later one has overwritten since: the worker remembers each that it processed."""
    rows = await _sql(stack, "rating_svc", "SELECT user_id, request_id FROM seen_requests")
    seen = {(row["user_id"], row["request_id"]) for row in rows}
    return [
        f"lost: {author.name} {wish.movie} {wish.score} was acknowledged and never processed"
        for author in authors
        for wish in author.acknowledged
        if (author.name, uuid.UUID(wish.request_id)) not in seen
    ]


async def _the_last_one_stands(stack: Stack, expected: dict[tuple[str, str], int]) -> list[str]:
    rows = await _sql(
        stack, "rating_svc", "SELECT user_id, movie_id, score FROM ratings WHERE score IS NOT NULL"
    )
    stored = {(row["user_id"], names.imdb_id(row["movie_id"])): row["score"] for row in rows}
    return [
        f"{key}: acknowledged last was {expected.get(key)}, stored is {stored.get(key)}"
        for key in sorted(expected.keys() | stored.keys())
        if expected.get(key) != stored.get(key)
    ]


async def _no_change_counts_twice(stack: Stack, expected: dict[tuple[str, str], int]) -> list[str]:
    """The changes in the topic, each event id once, add up to the ratings."""
    sums: dict[str, Histogram] = {}
    for event in (await asyncio.to_thread(_changes, stack)).values():
        counts = sums.setdefault(event.movie.removeprefix("movies/"), [0] * 10)
        if event.HasField("old_score"):
            counts[event.old_score - 1] -= 1
        if event.HasField("new_score"):
            counts[event.new_score - 1] += 1
    return _differences("the changes add up to", sums, _recount(expected))


async def _aggregates_are_a_recount(stack: Stack, expected: dict[tuple[str, str], int]) -> list[str]:
    counts = ", ".join(f"h{score}" for score in range(1, 11))
    rows = await _sql(stack, "ranking_svc", f"SELECT movie, {counts} FROM scores")
    sums = {names.imdb_id(row[0]): list(row[1:]) for row in rows}
    return _differences("the aggregate is", sums, _recount(expected))


async def _authors_see_their_own(authors: Sequence[Author]) -> list[str]:
    return [text for text in await asyncio.gather(*map(_sees_its_own, authors)) if text]


async def _sees_its_own(author: Author) -> str:
    """What is wrong with what an author sees; empty if nothing is."""
    standing = {movie: score for movie, score in author.expected.items() if score is not None}
    own = {movie: (score, "STATE_ACTIVE") for movie, score in standing.items()}

    async def settled() -> bool:
        return await author.ratings() == own

    try:
        # A row may be stored and still be pending for a moment, in a replica that is behind.
        await eventually(settled, 20.0, 0.5)
    except AssertionError:
        return f"{author.name} sees {await author.ratings()}, acknowledged was {own}"
    return ""


def _the_chart_is_right(stack: Stack, expected: dict[tuple[str, str], int]) -> list[str]:
    """Every page of the chart is the recount's, order included, and `marquee verify` agrees."""
    ratings = [Rating(user, movie, score, 0) for (user, movie), score in expected.items()]
    deadline = time.monotonic() + _FOLLOW_S
    try:
        admin.rebuild_charts(stack)
        verified = admin.reconcile(stack)
        # A server that was not asked to rebuild follows on its own.
        while broken := _differing(stack, ratings):
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
    except (StackError, KeyError) as error:
        return [f"there is no chart to compare: {error}"]
    if verified.differing:
        broken.append(f"`marquee verify` finds {verified.differing} movies that differ")
    return broken


def _differing(stack: Stack, ratings: list[Rating]) -> list[str]:
    entries: list[dict[str, Any]] = []
    token = ""
    while not entries or token:
        page = chart.read(stack, {"pageSize": str(_PAGE), "pageToken": token})
        entries += page["entries"]
        token = page.get("nextPageToken", "")
    formula = page["formula"]
    broken = recount.differences(
        entries, recount.top_rated(ratings, formula["priorVotes"], formula["priorMean"])
    )
    if abs(formula["priorMean"] - recount.mean(ratings)) > 1e-9:
        broken.append(f"C is {formula['priorMean']}, the mean of the ratings {recount.mean(ratings)}")
    return broken


def _nothing_is_dead(stack: Stack) -> list[str]:
    consumer = _consumer(stack)
    try:
        counts = {
            topic: sum(high - low for low, high in _ends(consumer, topic).values())
            for topic in (topics.DEAD_LETTERS, ranking_topics.DEAD_LETTERS.name)
        }
    finally:
        consumer.close()
    return [f"{count} dead letters in {topic}" for topic, count in counts.items() if count]


def _recount(expected: dict[tuple[str, str], int]) -> dict[str, Histogram]:
    counts: dict[str, Histogram] = {}
    for (_, movie), score in expected.items():
        counts.setdefault(movie, [0] * 10)[score - 1] += 1
    return counts


def _differences(what: str, found: dict[str, Histogram], expected: dict[str, Histogram]) -> list[str]:
    return [
        f"{movie}: {what} {found.get(movie, _NONE)}, the ratings to {expected.get(movie, _NONE)}"
        for movie in sorted(found.keys() | expected.keys())
        if found.get(movie, _NONE) != expected.get(movie, _NONE)
    ]


async def _sql(stack: Stack, service: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(stack.dsn(service), timeout=10)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


def _consumer(stack: Stack) -> Consumer:
    return Consumer({"bootstrap.servers": stack.kafka_bootstrap, "group.id": "nobody", "log_level": 0})


def _ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in known}


def _changes(stack: Stack) -> dict[int, RatingChanged]:
    """All changes by event id; a change that was published twice stands once."""
    consumer = _consumer(stack)
    try:
        left = {p: end for p, (_, end) in _ends(consumer, topics.CHANGED).items() if end}
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
