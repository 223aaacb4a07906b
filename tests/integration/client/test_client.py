"""`marquee-client` against a real Envoy: what comes back, what goes wrong, and what it does about it."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import ratings_pb2
from marquee_client import (
    AsyncClient,
    Client,
    ClientSettings,
    DeadlineError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    SignInError,
    Token,
    UnavailableError,
)

from tests.support.edge.mesh import Edge, fail, not_found, rich_error

MOVIE = "tt0111161"


def target(edge: Edge) -> str:
    return edge.url.removeprefix("http://")


@pytest.fixture
async def client(edge: Edge) -> AsyncIterator[AsyncClient]:
    async def token() -> str:
        return edge.token("ann")

    async with AsyncClient(target(edge), token, tls=False) as made:
        yield made


async def in_thread(edge: Edge, work: Any, token: Any = None, **settings: Any) -> Any:
    """What a plain program does, in a thread of its own: the services answer in this one."""

    def run() -> Any:
        with Client(target(edge), token, tls=False, settings=ClientSettings(**settings)) as made:
            return work(made)

    return await asyncio.to_thread(run)


async def test_both_clients_read_films_and_rate_them(edge: Edge, client: AsyncClient) -> None:
    assert (await client.movie(MOVIE)).name == f"movies/{MOVIE}"
    rated = await client.rate(MOVIE, 9)
    assert rated.score == 9
    assert (await in_thread(edge, lambda made: made.movie(MOVIE))).name == f"movies/{MOVIE}"
    assert (await in_thread(edge, lambda made: made.rate(MOVIE, 7), edge.token("bob"))).score == 7
    calls = [each for each in edge.service.calls if each.method == "RateMovie"]
    assert [each.values("x-marquee-subject") for each in calls] == [["ann"], ["bob"]]
    assert all(each.time_remaining is not None and each.time_remaining <= 10 for each in calls)
    assert len({each.request.request_id for each in calls}) == 2, "each submission has an identity"


async def test_a_list_asks_for_the_next_page_when_it_is_read(edge: Edge, client: AsyncClient) -> None:
    asked = []

    async def chart(request: Any, _context: Any) -> Any:
        asked.append(request.page_token)
        first = int(request.page_token or 0)
        entries = [rankings_pb2.ChartEntry(rank=first + number) for number in (1, 2)]
        return rankings_pb2.ListTopRatedResponse(
            entries=entries, next_page_token=str(first + 2) if first < 4 else ""
        )

    edge.service.handlers["ListTopRated"] = chart
    assert [each.rank async for each in client.top_rated(genre="Drama")] == [1, 2, 3, 4, 5, 6]
    assert asked == ["", "2", "4"]
    asked.clear()
    ranks = await in_thread(edge, lambda made: [each.rank for each in islice(made.top_rated(), 3)])
    assert ranks == [1, 2, 3]
    assert asked == ["", "2"], "and not one more"


async def test_errors_have_types_and_reasons(edge: Edge, client: AsyncClient) -> None:
    async def missing(request: Any, context: Any) -> Any:
        await fail(context, not_found(request.name))

    edge.service.handlers["GetMovie"] = missing
    with pytest.raises(NotFoundError) as found:
        await client.movie("tt0000404")
    assert (found.value.reason, found.value.code) == ("MOVIE_NOT_FOUND", grpc.StatusCode.NOT_FOUND)

    async def wrong(_request: Any, context: Any) -> Any:
        field = error_details_pb2.BadRequest.FieldViolation(field="score", description="11 is not a score")
        details = error_details_pb2.BadRequest(field_violations=[field])
        info = error_details_pb2.ErrorInfo(reason="INVALID_SCORE", domain="marquee")
        await fail(context, rich_error(grpc.StatusCode.INVALID_ARGUMENT, "score: 11", info, details))

    edge.service.handlers["RateMovie"] = wrong
    with pytest.raises(InvalidRequestError) as refused:
        await client.rate(MOVIE, 11)
    (violation,) = refused.value.violations
    assert (violation.field, refused.value.reason) == ("score", "INVALID_SCORE")

    async def enough(_request: Any, context: Any) -> Any:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(1500)
        await fail(context, rich_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", retry))

    edge.service.handlers["GetScore"] = enough
    with pytest.raises(RateLimitedError) as limited:
        await in_thread(edge, lambda made: made.score(MOVIE))
    assert limited.value.retry_after == 1.5


async def test_what_needs_a_token_says_so_before_it_calls(edge: Edge) -> None:
    with pytest.raises(SignInError, match="give the client one"):
        await in_thread(edge, lambda made: made.rate(MOVIE, 9))
    assert edge.service.calls == []


async def test_a_call_ends_at_its_deadline(edge: Edge) -> None:
    async def slow(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(30)

    edge.service.handlers["GetMovie"] = slow
    with pytest.raises(DeadlineError):
        await in_thread(edge, lambda made: made.movie(MOVIE), timeout_s=0.5)


async def test_an_edge_that_is_away_is_tried_again_and_then_named(edge: Edge) -> None:
    calls = 0

    async def away_twice(request: Any, context: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            await fail(context, rich_error(grpc.StatusCode.UNAVAILABLE, "the queue is away"))
        return ratings_pb2.Rating(name=request.name, score=request.score)

    edge.service.handlers["RateMovie"] = away_twice
    rated = await in_thread(edge, lambda made: made.rate(MOVIE, 8), edge.token("ann"))
    assert rated.score == 8
    identities = {each.request.request_id for each in edge.service.calls if each.method == "RateMovie"}
    assert len(identities) == 1, "all tries are one submission"

    def nobody() -> None:
        settings = ClientSettings(timeout_s=3)
        with Client("127.0.0.1:9", tls=False, settings=settings) as made:
            made.movie(MOVIE)

    with pytest.raises((UnavailableError, DeadlineError)) as failed:
        await asyncio.to_thread(nobody)
    assert failed.value.reason == ""


async def test_a_token_is_asked_for_before_it_ends_and_when_it_was_refused(edge: Edge) -> None:
    asked = []

    def soon_over() -> Token:
        asked.append(1)
        return Token(edge.token("ann"), expires=time.time() + 10)

    await in_thread(edge, lambda made: [made.rate(MOVIE, 5), made.rate(MOVIE, 6)], soon_over)
    assert len(asked) == 2, "ten seconds are nearly over"

    given = iter([edge.token("ann", ttl_s=-60), edge.token("ann")])
    rated = await in_thread(edge, lambda made: made.rate(MOVIE, 4), lambda: next(given))
    assert rated.score == 4
    with pytest.raises(NotAllowedError):
        await in_thread(edge, lambda made: made.rate(MOVIE, 4), edge.token("ann", audience="elsewhere"))


async def test_a_stream_that_is_cut_goes_on_without_repeating_itself(edge: Edge, client: AsyncClient) -> None:
    streams = 0

    async def watched(_request: Any, context: Any) -> Any:
        nonlocal streams
        streams += 1
        for votes in range(streams, streams + 2):
            yield rankings_pb2.Score(name=f"movies/{MOVIE}/score", votes=votes)
        if streams % 2:
            await fail(context, rich_error(grpc.StatusCode.UNAVAILABLE, "restarting"))

    edge.service.handlers["WatchScore"] = watched
    seen = []
    async for score in client.watch_score(MOVIE):
        seen.append(score.votes)
        if len(seen) == 4:
            break
    assert seen == [1, 2, 3, 4]

    streams = 0
    votes = await in_thread(
        edge, lambda made: [each.votes for each in islice(made.watch_score(MOVIE), 3)], reconnect_s=0.05
    )
    assert votes == [1, 2, 3]


async def test_a_stream_that_can_never_come_says_why(edge: Edge, client: AsyncClient) -> None:
    async def refused(_request: Any, context: Any) -> Any:
        await fail(context, not_found(f"movies/{MOVIE}"))
        yield rankings_pb2.Score()

    edge.service.handlers["WatchScore"] = refused
    with pytest.raises(NotFoundError):
        await anext(aiter(client.watch_score(MOVIE)))


async def test_many_ratings_go_as_one_stream(edge: Edge, client: AsyncClient) -> None:
    scores = [(f"tt{number:07}", number % 10 + 1) for number in range(200)]
    answer = await client.import_ratings(scores)
    assert answer.imported == 200
    assert (
        await in_thread(edge, lambda made: made.import_ratings(scores), edge.token("bob"))
    ).imported == 200
