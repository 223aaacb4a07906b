"""ranking_svc's processes for tests."""

from functools import cached_property
from pathlib import Path

from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc

from local.servers.services import stores
from local.stack.layout import Stack
from tests.support.process import ServiceProcess

OPERATOR = (("x-marquee-subject", "operator"), ("x-marquee-scopes", "marquee.admin"))
_NOWHERE = {"MARQUEE_MOVIE_SVC": "127.0.0.1:1", "MARQUEE_RATING_SVC": "127.0.0.1:1"}


class RankingProcess(ServiceProcess):
    """A process of ranking_svc, in one of its roles. It knows no other service unless it is told of one."""

    def __init__(self, stack: Stack, role: str, logs: Path, **environment: str) -> None:
        super().__init__(
            stack, "ranking_svc", role, logs, **{**_NOWHERE, **stores(stack, "ranking_svc"), **environment}
        )

    @cached_property
    def rankings(self) -> "rankings_pb2_grpc.RankingServiceAsyncStub":
        return rankings_pb2_grpc.RankingServiceStub(self.channel)

    @cached_property
    def admin(self) -> "rankings_pb2_grpc.RankingAdminServiceAsyncStub":
        return rankings_pb2_grpc.RankingAdminServiceStub(self.channel)

    async def votes(self, movie: int) -> int:
        request = pb.GetScoreRequest(name=f"movies/tt{movie:07d}/score")
        return (await self.rankings.GetScore(request, timeout=15)).votes
