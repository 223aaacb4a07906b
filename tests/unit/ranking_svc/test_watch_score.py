"""A watcher of a score sees it at once, and then its changes, until it goes or the server drains."""

import asyncio
import contextlib
import time

import grpc
import pytest
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc

from mesh.switches import STREAMS, TRENDING
from ranking_svc.config import ChartConfig
from ranking_svc.formula import Formula
from tests.unit.ranking_svc.charts import CONFIG, Here, serving
from tests.unit.ranking_svc.examples import chart_of, scored


async def test_a_change_shows_at_once(here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub") -> None:
    request = pb.ListTopRatedRequest(page_size=1)
    assert (await stub.ListTopRated(request)).entries[0].movie == "movies/tt0111161"
    here.change(68646, *[10] * 200)
    assert (await stub.ListTopRated(request)).entries[0].movie == "movies/tt0068646"
    here.chart = chart_of([scored(9, 8)], Formula(2, 20.0, 6.0))
    assert (await stub.ListTopRated(request)).entries[0].movie == "movies/tt0000009"


async def test_a_watcher_sees_the_score_at_once_and_then_changes(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    stream = aiter(stub.WatchScore(pb.WatchScoreRequest(name="movies/tt0000005/score")))
    assert (await anext(stream)).votes == 1
    here.change(5, 10, 9)
    assert (await anext(stream)).votes == 2


async def test_changes_within_a_moment_are_one(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    # From before the first is sent: it may arrive a while later.
    started = time.monotonic()
    stream = aiter(stub.WatchScore(pb.WatchScoreRequest(name="movies/tt0000005/score")))
    await anext(stream)
    for count in range(2, 12):
        here.change(5, *[10] * count)
    assert (await anext(stream)).votes == 11
    assert time.monotonic() - started >= CONFIG.watch_gap_s * 0.9


async def test_what_changes_nothing_is_not_sent(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    stream = aiter(stub.WatchScore(pb.WatchScoreRequest(name="movies/tt0000005/score")))
    await anext(stream)
    (watch,) = here.watchers._by_movie[5]
    here.watchers.notify([5])
    async with asyncio.timeout(60):
        while watch.changed.is_set():
            await asyncio.sleep(0.01)
    here.change(5, 10, 9)
    assert (await anext(stream)).votes == 2


async def test_a_stream_ends_in_time_without_an_error(here: Here) -> None:
    async with serving(here, ChartConfig(watch_gap_s=0.05, watch_limit_s=0.2)) as stub:
        stream = stub.WatchScore(pb.WatchScoreRequest(name="movies/tt0000005/score"))
        async with asyncio.timeout(60):
            assert (await stream.read()).votes == 1  # type: ignore[attr-defined]
            assert await stream.read() is grpc.aio.EOF
            assert await stream.code() is grpc.StatusCode.OK


async def test_a_drain_ends_watchers_without_an_error(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    stream = stub.WatchScore(pb.WatchScoreRequest(name="movies/tt0000005/score"))
    assert (await stream.read()).votes == 1  # type: ignore[attr-defined]
    here.watchers.close()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_watchers_are_limited_and_leave_nothing_behind(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    request = pb.WatchScoreRequest(name="movies/tt0000005/score")
    streams = [stub.WatchScore(request) for _ in range(CONFIG.max_watchers)]
    for stream in streams:
        await stream.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.WatchScore(request).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for stream in streams:
        stream.cancel()
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                assert (await stub.WatchScore(request).read()).votes == 1  # type: ignore[attr-defined]
                break
            await asyncio.sleep(0.01)


async def test_watchers_are_sent_away_while_streams_are_switched_off(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    asked = pb.WatchScoreRequest(name="movies/tt0000005/score")
    STREAMS.when_turned(here.watchers.notify_all)
    stream = aiter(stub.WatchScore(asked))
    await anext(stream)
    try:
        STREAMS.turn(False)
        for ends in (stream, aiter(stub.WatchScore(asked))):
            with pytest.raises(grpc.RpcError) as refused:
                await anext(ends)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "switched off" in refused.value.details()
        assert (await stub.GetScore(pb.GetScoreRequest(name=asked.name))).votes == 1
    finally:
        STREAMS.turn(True)
    assert (await anext(aiter(stub.WatchScore(asked)))).votes == 1


async def test_trending_alone_is_refused_while_it_is_switched_off(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub",
) -> None:
    TRENDING.turn(False)
    try:
        with pytest.raises(grpc.RpcError) as refused:
            await stub.ListTrending(pb.ListTrendingRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await stub.ListTopRated(pb.ListTopRatedRequest())).entries
    finally:
        TRENDING.turn(True)
    await stub.ListTrending(pb.ListTrendingRequest())
