"""Health and drain of a real server."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc

from mesh import health, rpc
from mesh.server import Server, ServerConfig
from mesh.tasks import end
from tests.support.ports import free_port

SERVICE = pb.DESCRIPTOR.services_by_name["RankingService"]
NAME = "movies/tt0111161/score"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Part:
    """A dependency that is there or not."""

    def __init__(self, up: bool = True) -> None:
        self.up = up

    async def probe(self) -> None:
        if not self.up:
            raise ConnectionError("away")


class Slow:
    """RankingService whose GetScore ends when it is told to, and whose WatchScore ends at the drain."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.drained = asyncio.Event()

    async def GetScore(self, request: Any, context: rpc.Context) -> pb.Score:
        self.arrived.set()
        await self.go_on.wait()
        return pb.Score(votes=1)

    async def WatchScore(self, request: Any, context: rpc.Context) -> AsyncIterator[pb.Score]:
        yield pb.Score(votes=1)
        await self.drained.wait()

    async def ListTopRated(self, request: Any, context: rpc.Context) -> pb.ListTopRatedResponse:
        return pb.ListTopRatedResponse()

    ListMostVoted = ListBoxOffice = ListTrending = ListTopRated


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_INTERVAL_S", 0.02)
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.2)


@asynccontextmanager
async def running(server: Server, address: str) -> AsyncIterator[grpc.aio.Channel]:
    task = asyncio.create_task(server.run())
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), 60)
            yield channel
            server.stop()
            await asyncio.wait_for(task, 60)
    finally:
        await end([task])


async def status(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)).status)


async def becomes(channel: grpc.aio.Channel, expected: int, service: str = "") -> None:
    async with asyncio.timeout(60):
        while await status(channel, service) != expected:
            await asyncio.sleep(0.01)


def made(address: str, **config: Any) -> Server:
    usual = {"drain_wait_s": 0.2, "drain_grace_s": 5}
    return Server("test", ServerConfig(address=address, **{**usual, **config}))


async def test_a_required_part_takes_traffic_away_while_it_is_gone() -> None:
    address = free_address()
    server, part = made(address), Part()
    server.add(SERVICE, Slow())
    server.health.depends_on("database", part.probe, required=True)
    async with running(server, address) as channel:
        await becomes(channel, SERVING, SERVICE.full_name)
        part.up = False
        await becomes(channel, NOT_SERVING, SERVICE.full_name)
        part.up = True
        await becomes(channel, SERVING, SERVICE.full_name)


async def test_another_part_must_have_been_there_once_and_then_shows_under_its_own_name() -> None:
    address = free_address()
    server, part = made(address), Part(up=False)
    server.health.depends_on("redis", part.probe)
    async with running(server, address) as channel:
        assert await status(channel) == NOT_SERVING
        part.up = True
        await becomes(channel, SERVING)
        part.up = False
        await becomes(channel, NOT_SERVING, "dependency/redis")
        assert await status(channel) == SERVING


async def test_an_optional_part_never_takes_traffic_away() -> None:
    address = free_address()
    server = made(address)
    server.health.depends_on("redis", Part(up=False).probe, optional=True)
    async with running(server, address) as channel:
        assert await status(channel) == SERVING
        assert await status(channel, "dependency/redis") == NOT_SERVING


async def test_a_probe_that_hangs_counts_as_gone() -> None:
    async def hangs() -> None:
        await asyncio.sleep(3600)

    address = free_address()
    server = made(address)
    server.health.depends_on("database", hangs, required=True)
    async with running(server, address) as channel:
        assert await status(channel) == NOT_SERVING


async def test_the_drain_says_so_first_and_still_answers_then_lets_calls_end() -> None:
    address = free_address()
    # Longer than a busy machine may take to look.
    server, slow = made(address, drain_wait_s=2), Slow()
    server.add(SERVICE, slow)
    server.at_drain(slow.drained.set)
    async with running(server, address) as channel:
        stub = rankings_pb2_grpc.RankingServiceStub(channel)
        under_way = stub.GetScore(pb.GetScoreRequest(name=NAME), timeout=60)
        stream = stub.WatchScore(pb.WatchScoreRequest(name=NAME))
        assert (await stream.read()).votes == 1  # type: ignore[attr-defined]
        await slow.arrived.wait()
        server.stop()
        await becomes(channel, NOT_SERVING)
        assert not slow.drained.is_set()
        # The edge has not noticed yet: what it sends is answered.
        await stub.ListTopRated(pb.ListTopRatedRequest(), timeout=30)
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        slow.go_on.set()
        assert (await under_way).votes == 1


async def test_a_background_task_that_fails_is_started_again() -> None:
    address = free_address()
    server = made(address)
    starts: list[int] = []
    third = asyncio.Event()

    async def fails_twice() -> None:
        starts.append(1)
        if len(starts) < 3:
            raise RuntimeError("expected")
        third.set()
        await asyncio.sleep(3600)

    server.background("test", fails_twice)
    async with running(server, address):
        async with asyncio.timeout(60):
            await third.wait()
    assert len(starts) == 3


async def test_two_processes_can_not_share_a_port() -> None:
    address = free_address()
    async with running(made(address), address):
        with pytest.raises(RuntimeError):
            await made(address).run()


async def test_metrics_are_served_where_configured() -> None:
    address, metrics = free_address(), free_address()
    async with running(made(address, metrics_address=metrics), address):
        page = await asyncio.to_thread(urllib.request.urlopen, f"http://{metrics}/metrics", None, 30)
        assert b"grpc_server_in_flight" in page.read()


async def test_what_is_to_say_of_a_part_is_served_beside_the_metrics() -> None:
    address, metrics = free_address(), free_address()
    server = made(address, metrics_address=metrics)

    async def probe() -> str:
        return "half full"

    server.health.depends_on("glass", probe)
    server.health.depends_on("water", Part(up=False).probe, optional=True)
    async with running(server, address):
        page = await asyncio.to_thread(urllib.request.urlopen, f"http://{metrics}/health", None, 30)
        parts = json.load(page)["dependencies"]
        assert (parts["glass"]["up"], parts["glass"]["detail"]) == (True, "half full")
        assert (parts["water"]["up"], parts["water"]["optional"]) == (False, True)
        assert parts["water"]["detail"]


async def test_probes_without_a_certificate_ask_for_readiness_and_life_on_a_port_of_their_own() -> None:
    address, probes = free_address(), free_address()
    server, part = made(address, health_address=probes), Part(up=False)
    server.add(SERVICE, Slow())
    server.health.depends_on("database", part.probe, required=True)
    async with running(server, address), grpc.aio.insecure_channel(probes) as channel:
        await becomes(channel, NOT_SERVING)
        # Whatever is away: a restart would mend nothing.
        assert await status(channel, health.LIVE) == SERVING
        part.up = True
        await becomes(channel, SERVING)
        # Nothing else is served there.
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rankings_pb2_grpc.RankingServiceStub(channel).GetScore(
                pb.GetScoreRequest(name=NAME), timeout=30
            )
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_process_looks_for_garbage_seldom_and_not_among_its_modules() -> None:
    told = "async def entry(): print(gc.get_threshold()[0] >= 10_000, gc.get_freeze_count() > 10_000)"
    code = f"import gc\nfrom mesh import server\n{told}\nserver.main('test', entry)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
