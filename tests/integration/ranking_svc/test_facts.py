"""Movies' facts: from events, and from movie_svc where no event has told."""

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from marquee.movies.v1 import events_pb2, movies_pb2, movies_pb2_grpc

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import channel, migrations, names, rpc
from mesh.channel import ChannelConfig
from mesh.errors import unavailable
from mesh.kafka import BatchReader
from mesh.tasks import end
from ranking_svc.config import ConsumerConfig
from ranking_svc.facts import FactsFiller, Told, facts_consumer
from ranking_svc.model import Change
from ranking_svc.topics import MOVIES_DEAD_LETTERS
from rating_svc import dlq
from tests.support.batch_readers import stopped
from tests.support.rankings import NOW, Place, letters_of
from tests.support.rpc import served
from tests.support.waiting import eventually


@dataclass
class Movies(movies_pb2_grpc.MovieServiceServicer):
    """MovieService with some movies; those not found are missing."""

    known: dict[int, movies_pb2.Movie]
    away: bool = False
    asked: list[list[str]] = field(default_factory=list)

    async def BatchGetMovies(
        self, request: movies_pb2.BatchGetMoviesRequest, context: rpc.Context
    ) -> movies_pb2.BatchGetMoviesResponse:
        self.asked.append(list(request.names))
        if self.away:
            raise unavailable("OMDB_UNAVAILABLE", "not now", 1)
        answer = movies_pb2.BatchGetMoviesResponse()
        for name in request.names:
            movie = self.known.get(names.movie_number(name))
            if movie is not None:
                answer.movies.append(movie)
            else:
                answer.missing.add(name=name, reason="MOVIE_NOT_FOUND")
        return answer


def movie(number: int) -> movies_pb2.Movie:
    return movies_pb2.Movie(
        name=names.movie_name(number),
        title=f"Movie {number}",
        type="MOVIE_TYPE_MOVIE",
        year=1999,
        genres=["Drama"],
    )


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Movies]:
    """MovieService, and a filler that asks it."""
    service = Movies({number: movie(number) for number in range(1, 400)})  # type: ignore[abstract]
    descriptor = movies_pb2.DESCRIPTOR.services_by_name["MovieService"]
    async with served(descriptor, service) as address, channel.connect(address, ChannelConfig()) as opened:
        filler = FactsFiller(place.store, movies_pb2_grpc.MovieServiceStub(opened), place.nudges)
        task = asyncio.create_task(filler.run())
        yield service
        await end([task])


@contextlib.asynccontextmanager
async def taking_facts(place: Place, dead_limit: int = 100) -> AsyncIterator["BatchReader[Told | None, int]"]:
    """A consumer of facts, until the block ends."""
    reader = f"{place.group}.facts"
    config = ConsumerConfig(dead_limit=dead_limit)
    consumer = facts_consumer(
        lambda: place.consumer(reader), place.queue, place.pg, place.producer, place.nudges, config, reader
    )
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        await end([task])


async def known(place: Place) -> dict[int, str]:
    rows = await place.pg.fetch("SELECT movie, title FROM facts", fresh=True)
    return {row["movie"]: row["title"] for row in rows}


async def rate(place: Place, *movies: int) -> None:
    await place.store.apply([Change(number, number, None, 8, NOW) for number in movies])


async def test_rated_movies_that_no_event_told_of_are_asked_for(place: Place, service: Movies) -> None:
    await rate(place, *range(1, 251))

    async def all_known() -> bool:
        return len(await known(place)) == 250

    await eventually(all_known)
    assert (await known(place))[7] == "Movie 7"
    assert max(map(len, service.asked)) <= 100
    assert sum(map(len, service.asked)) == 250


async def test_a_movie_that_is_not_found_is_not_asked_for_again(place: Place, service: Movies) -> None:
    await rate(place, 5000)

    async def asked() -> bool:
        return bool(service.asked)

    await eventually(asked)
    await rate(place, 1)
    await eventually(lambda: _knows(place, 1))
    assert [name for names in service.asked for name in names].count("movies/tt0005000") == 1


async def test_while_movie_svc_is_away_votes_count_and_facts_come_later(
    place: Place, service: Movies
) -> None:
    service.away = True
    await rate(place, 1, 2, 3)
    assert set(await place.histograms()) == {1, 2, 3}

    async def asked_in_vain() -> bool:
        return bool(service.asked)

    await eventually(asked_in_vain)
    assert await known(place) == {}
    service.away = False
    await eventually(lambda: _knows(place, 3))


async def _knows(place: Place, number: int) -> bool:
    return number in await known(place)


def told(number: int, title: str = "", at: int = 100) -> events_pb2.MovieChanged:
    made = events_pb2.MovieChanged(schema_version=1, movie=movie(number))
    made.movie.title = title or f"Movie {number}"
    made.movie.box_office_usd = 957
    made.change_time.FromSeconds(at)
    return made


async def test_the_last_event_of_a_movie_stands_and_what_can_not_be_read_is_passed_over(place: Place) -> None:
    async def tell(number: int, title: str, at: int) -> None:
        await place.send_raw(names.movie_name(number), told(number, title, at).SerializeToString())

    await tell(1, "First", 100)
    await place.send_raw("movies/tt0000001", b"\xff")
    await tell(1, "Second", 200)
    await tell(2, "Other", 100)
    async with taking_facts(place):
        await eventually(lambda: _knows(place, 2))

        async def second() -> bool:
            return (await known(place)).get(1) == "Second"

        await eventually(second)
    (facts,) = await place.store.facts_of([2])
    assert (facts.title, facts.year, facts.genres, facts.type, facts.box_office_usd) == (
        "Other",
        1999,
        ("Drama",),
        1,
        957,
    )


def poison() -> dict[str, bytes]:
    """Events that can't be kept, by the reason that is to be given for it."""
    odd = {
        "TYPE_OUT_OF_RANGE": told(1),
        "UNUSABLE_TEXT": told(1, "A NUL\0 in it"),
        "YEAR_OUT_OF_RANGE": told(1),
        "BOX_OFFICE_OUT_OF_RANGE": told(1),
        "TOO_MANY_GENRES": told(1),
        "TIME_OUT_OF_RANGE": told(1),
        "INVALID_MOVIE_NAME": told(1),
        "UNKNOWN_SCHEMA_VERSION": told(1),
    }
    odd["TYPE_OUT_OF_RANGE"].movie.type = 40_000  # type: ignore[assignment]
    odd["YEAR_OUT_OF_RANGE"].movie.year = -(1 << 31)
    odd["BOX_OFFICE_OUT_OF_RANGE"].movie.box_office_usd = -1
    odd["TOO_MANY_GENRES"].movie.genres.extend(["Drama"] * 200)
    odd["TIME_OUT_OF_RANGE"].change_time.seconds = -(1 << 62)
    odd["INVALID_MOVIE_NAME"].movie.name = "movies/tt99999999999"
    odd["UNKNOWN_SCHEMA_VERSION"].schema_version = 2
    found = {reason: event.SerializeToString() for reason, event in odd.items()}
    # A lone surrogate is no UTF-8.
    found["MALFORMED_MESSAGE"] = told(1, "abc").SerializeToString().replace(b"abc", b"\xed\xa0\x80")
    return found


async def test_facts_that_can_not_be_kept_go_to_the_dead_letters_and_stop_no_others(place: Place) -> None:
    odd = poison()
    too_long = told(1, "x" * 100_000).SerializeToString()
    # The year 292277026596: PostgreSQL knows none such.
    far = told(3)
    far.change_time.seconds = 1 << 62
    for number, value in enumerate([*odd.values(), too_long, far.SerializeToString()], 100):
        await place.send_raw("movies/tt0000001", value)
        await place.send_raw(names.movie_name(number), told(number).SerializeToString())
    async with taking_facts(place):

        async def all_others() -> bool:
            return set(range(100, 100 + len(odd) + 2)) <= set(await known(place))

        await eventually(all_others)
        letters = await letters_of(place, len(odd) + 1, MOVIES_DEAD_LETTERS)
    reasons = sorted(letter.headers["marquee-reason"] for letter in letters)
    assert reasons == sorted([*odd, "UNUSABLE_TEXT"])
    assert {letter.value for letter in letters} == {*odd.values(), too_long}
    assert 1 not in await known(place)
    # A clock that is ahead must not make its facts the last forever.
    await place.send_raw("movies/tt0000003", told(3, "Later", int(time.time()) + 1).SerializeToString())
    async with taking_facts(place):

        async def later() -> bool:
            return (await known(place)).get(3) == "Later"

        await eventually(later)


async def test_operators_see_letters_of_facts_and_send_them_again(place: Place, stack: Stack) -> None:
    # The tool is rating_svc's, and looks into its registry of logs.
    await migrations.migrate(stack.dsn("rating_svc"), Path(dlq.__file__).parent / "migrations")
    bad = told(1, "x" * 2000).SerializeToString()
    await place.send_raw("movies/tt0000001", bad)
    async with taking_facts(place):
        (letter,) = await letters_of(place, 1, MOVIES_DEAD_LETTERS)
    environ = {**os.environ, **stores(stack, "rating_svc")}
    (id_,) = [
        one.id
        for one in await dlq.read(place.queue, MOVIES_DEAD_LETTERS.name)
        if one.headers.get("marquee-topic") == place.topic
    ]

    async def command(verb: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rating_svc", "dlq", verb, id_, "--of", "facts", env=environ, stdout=PIPE
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        return said.decode()

    assert "UNUSABLE_TEXT" in await command("show")
    await command("redrive")
    # It comes back, and becomes a letter again: one that was not seen before.
    async with taking_facts(place):
        letters = await letters_of(place, 2, MOVIES_DEAD_LETTERS)
    assert [one.value for one in letters] == [letter.value] * 2
    assert letters[0].headers["marquee-record"] != letters[1].headers["marquee-record"]


async def test_too_many_facts_that_can_not_be_kept_stop_their_consumer_and_it_says_so(place: Place) -> None:
    for _ in range(6):
        await place.send_raw("movies/tt0000001", b"\xff")
    async with taking_facts(place, dead_limit=3) as reader:
        await stopped(reader, "too many dead letters")
    await place.send_raw("movies/tt0000001", told(1).SerializeToString())
    async with taking_facts(place, dead_limit=100):
        await eventually(lambda: _knows(place, 1))


async def test_what_movie_svc_answers_and_can_not_be_kept_does_not_stop_the_others(
    place: Place, service: Movies
) -> None:
    service.known[1].title = "A NUL\0 in it"
    await rate(place, 1, 2, 3)
    await eventually(lambda: _knows(place, 3))
    assert set(await known(place)) == {2, 3}
