"""A servicer as a test wants it, behind the boundary around every handler."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from marquee.rankings.v1 import rankings_pb2 as pb
from prometheus_client import REGISTRY

from mesh import rpc
from tests.support.errors import Details

Behaviour = Callable[[Any, rpc.Context], Any]

SERVICE = pb.DESCRIPTOR.services_by_name["RankingService"]
SCORE = pb.GetScoreRequest(name="movies/tt0111161/score")
WATCH = pb.WatchScoreRequest(name=SCORE.name)


@asynccontextmanager
async def served(
    service: ServiceDescriptor, servicer: object, deadline_s: float = 10.0
) -> AsyncIterator[str]:
    """The address of a server of one service, behind the boundary around every handler."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([rpc.handlers(service, servicer, default_deadline_s=deadline_s)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


class Servicer:
    """RankingService whose GetScore and WatchScore a test defines."""

    def __init__(self, unary: Behaviour | None = None, stream: Behaviour | None = None) -> None:
        self.GetScore = unary
        self.WatchScore = stream

    async def ListTopRated(self, request: Any, context: rpc.Context) -> pb.ListTopRatedResponse:
        return pb.ListTopRatedResponse()

    ListMostVoted = ListBoxOffice = ListTrending = ListTopRated


@asynccontextmanager
async def serving(
    unary: Behaviour | None = None, stream: Behaviour | None = None, deadline_s: float = 10.0
) -> AsyncIterator[grpc.aio.Channel]:
    async def nothing(request: Any, context: rpc.Context) -> pb.Score:
        return pb.Score()

    servicer = Servicer(unary or nothing, stream or nothing)
    async with (
        served(SERVICE, servicer, deadline_s) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


async def failure(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """(code, reason, message) of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code(), Details(error).reason, error.details() or ""


def handled(code: str, method: str = "GetScore") -> float:
    labels = {
        "grpc_type": "unary" if method == "GetScore" else "server_stream",
        "grpc_service": SERVICE.full_name,
        "grpc_method": method,
        "grpc_code": code,
    }
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0
