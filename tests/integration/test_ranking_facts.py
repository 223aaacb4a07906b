"""Movies' facts: from events, and from movie_svc where no event has told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from marquee.movies.v1 import events_pb2, movies_pb2, movies_pb2_grpc

from mesh import channel, names, rpc
from mesh.channel import ChannelConfig
from mesh.errors import unavailable
from mesh.local.stack import Stack
from mesh.tasks import end
from ranking_svc.facts import FactsConsumer, FactsFiller
from ranking_svc.model import Change
from tests.support.rankings import NOW, Place, place_in
from tests.support.waiting import eventually


@dataclass
class Movies:
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

    async def GetMovie(self, request: object, context: rpc.Context) -> movies_pb2.Movie:
        raise NotImplementedError

    LookupMovie = SearchMovies = ListMovies = GetMovie


def movie(number: int) -> movies_pb2.Movie:
    return movies_pb2.Movie(
        name=names.movie_name(number),
        title=f"Movie {number}",
        type="MOVIE_TYPE_MOVIE",
        year=1999,
        genres=["Drama"],
    )


@pytest.fixture
async def place(stack: Stack) -> AsyncIterator[Place]:
    async with place_in(stack) as made:
        yield made


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Movies]:
    """MovieService, and a filler that asks it."""
    service = Movies({number: movie(number) for number in range(1, 400)})
    server = grpc.aio.server()
    descriptor = movies_pb2.DESCRIPTOR.services_by_name["MovieService"]
    server.add_generic_rpc_handlers([rpc.handlers(descriptor, service)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with channel.connect(f"127.0.0.1:{port}", ChannelConfig()) as opened:
        filler = FactsFiller(place.store, movies_pb2_grpc.MovieServiceStub(opened), place.nudges)
        task = asyncio.create_task(filler.run())
        yield service
        await end([task])
    await server.stop(0)


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


async def test_the_last_event_of_a_movie_stands_and_what_can_not_be_read_is_passed_over(place: Place) -> None:
    async def tell(number: int, title: str, at: int) -> None:
        told = events_pb2.MovieChanged(schema_version=1, movie=movie(number))
        told.movie.title = title
        told.movie.box_office_usd = 957
        told.change_time.FromSeconds(at)
        await place.send_raw(names.movie_name(number), told.SerializeToString())

    await tell(1, "First", 100)
    await place.send_raw("movies/tt0000001", b"\xff")
    await tell(1, "Second", 200)
    await tell(2, "Other", 100)
    consumer = place.consumer()
    task = asyncio.create_task(FactsConsumer(consumer, place.store, place.nudges).run())
    try:
        await eventually(lambda: _knows(place, 2))

        async def second() -> bool:
            return (await known(place)).get(1) == "Second"

        await eventually(second)
    finally:
        await end([task])
        await consumer.close()
    (facts,) = await place.store.facts_of([2])
    assert (facts.title, facts.year, facts.genres, facts.type, facts.box_office_usd) == (
        "Other",
        1999,
        ("Drama",),
        1,
        957,
    )
