"""What charts show of movies: from movie_svc's events, and by asking for what no event has told.

Aggregates need none of this: a movie without facts stands in the charts of all
movies, without its title.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from mesh import names, rules
from mesh.backoff import Backoff
from mesh.errors import MarqueeError
from mesh.kafka import (
    BatchConsumer,
    BatchReader,
    DeadLetterBox,
    DeadLetterLimit,
    DecodedRecord,
    Handler,
    KafkaConfig,
    KafkaProducer,
    Poison,
    Record,
)
from mesh.postgres import Connection, Postgres
from ranking_svc import metrics, topics
from ranking_svc.config import ConsumerConfig
from ranking_svc.events import facts_of, movie_change
from ranking_svc.model import Facts
from ranking_svc.nudges import Nudges
from ranking_svc.store import Store, put_facts

log = logging.getLogger(__name__)

_BATCH: Final = 500
_FIRST_BACKOFF_S: Final = 0.5
_MAX_BACKOFF_S: Final = 30.0

# As many as MovieService answers at once.
_ASKED_AT_ONCE: Final = rules.rule(movies_pb2.BatchGetMoviesRequest.DESCRIPTOR, "names").max_items
_TIMEOUT_S: Final = 5.0
_LEASE_S: Final = 60.0
_IDLE_S: Final = 1.0
_RETRY_S: Final = 60.0
_MAX_RETRY_S: Final = 3600.0
_NOT_FOUND_RETRY_S: Final = 86_400.0
_NOT_FOUND: Final = "MOVIE_NOT_FOUND"


Told = tuple[Facts, float]
"""Facts, and when movie_svc stored them, in seconds since the epoch."""


class FactsOfEvents(Handler[Told | None, int]):
    """What becomes of `marquee.movies.changed.v1`."""

    def __init__(self, nudges: Nudges) -> None:
        self._nudges = nudges

    def read(self, record: Record) -> Told | None:
        # What was deleted in a compacted topic has no value.
        return movie_change(record.value) if record.value else None

    async def store(self, connection: Connection, entries: Sequence[DecodedRecord[Told | None]]) -> int:
        facts = _latest(entry.value for entry in entries if entry.value is not None)
        await put_facts(connection, facts)
        return len(facts)

    async def stored(self, _entries: Sequence[DecodedRecord[Told | None]], outcome: int) -> None:
        metrics.FACTS.labels("event").inc(outcome)
        await self._nudges.send()


def facts_consumer(
    consumer: Callable[[], BatchConsumer],
    queue: KafkaConfig,
    postgres: Postgres,
    producer: KafkaProducer,
    nudges: Nudges,
    config: ConsumerConfig,
    reader: str = topics.FACTS_GROUP,
) -> BatchReader[Told | None, int]:
    """The consumer of `marquee.movies.changed.v1`."""
    limit = DeadLetterLimit(config.dead_limit, window_s=config.dead_window_s)
    box = DeadLetterBox(reader, topics.MOVIES_DEAD_LETTERS.name, producer, postgres, limit)
    return BatchReader(reader, consumer, queue, postgres, FactsOfEvents(nudges), box, _BATCH)


def _latest(told: Iterable[Told]) -> dict[int, Told]:
    """The last facts of each movie."""
    latest: dict[int, Told] = {}
    for facts, change_time in told:
        known = latest.get(facts.movie)
        if known is None or known[1] <= change_time:
            latest[facts.movie] = facts, change_time
    return latest


class FactsFiller:
    """Asks movie_svc for rated movies that no event has told of."""

    def __init__(self, store: Store, movies: "movies_pb2_grpc.MovieServiceAsyncStub", nudges: Nudges) -> None:
        self._store = store
        self._movies = movies
        self._nudges = nudges

    async def run(self) -> None:
        """Asks forever; while movie_svc is away, ever more slowly."""
        backoff = Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S)
        while True:
            try:
                asked = await self._fill()
                pause = 0.0 if asked else _IDLE_S
                backoff.reset()
            except (grpc.aio.AioRpcError, MarqueeError) as error:
                log.warning("could not ask for movies: %s", _sentence(error))
                pause = backoff.pause_s()
            await asyncio.sleep(pause)

    async def _fill(self) -> int:
        """Asks for some movies; returns how many."""
        claimed = await self._store.claim_requests(_ASKED_AT_ONCE, _LEASE_S)
        if not claimed:
            return 0
        request = movies_pb2.BatchGetMoviesRequest(names=[names.movie_name(movie) for movie in claimed])
        try:
            answer = await self._movies.BatchGetMovies(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            await self._store.postpone_requests(dict.fromkeys(claimed, _FIRST_BACKOFF_S))
            raise
        found = {facts.movie: (facts, 0.0) for facts in _usable(answer.movies)}
        delays = {movie: min(_RETRY_S * 2**attempts, _MAX_RETRY_S) for movie, attempts in claimed.items()}
        for missing in answer.missing:
            if missing.reason == _NOT_FOUND:
                delays[names.movie_number(missing.name)] = _NOT_FOUND_RETRY_S
        metrics.FACTS.labels("asked").inc(len(found))
        if unanswered := {movie: delay for movie, delay in delays.items() if movie not in found}:
            metrics.FACTS.labels("missing").inc(len(unanswered))
            await self._store.postpone_requests(unanswered)
        if found:
            await self._store.put_facts(found)
            await self._nudges.send()
        return len(claimed)


def _usable(movies: Iterable[movies_pb2.Movie]) -> Iterable[Facts]:
    for movie in movies:
        try:
            yield facts_of(movie)
        except Poison as error:
            metrics.FACTS.labels("unusable").inc()
            log.error("movie_svc says of %.80r what can't be kept: %s: %s", movie.name, error.reason, error)


def _sentence(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"movie_svc answered {error.code().name}: {error.details()}"
    return str(error)
