"""RankingService over charts that a test makes."""

import contextlib
import time
from collections.abc import AsyncIterator

import grpc
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc

from mesh.pages import PageTokens
from ranking_svc.cache import Answers
from ranking_svc.config import ChartConfig
from ranking_svc.service import RankingService
from ranking_svc.watch import Watchers
from tests.support.rpc import served
from tests.unit.ranking_svc.examples import chart_of, facts, scored

CONFIG = ChartConfig(watch_gap_s=0.2, max_watchers=3)


class Here:
    """The charts under test, and who watches them."""

    def __init__(self) -> None:
        now = time.time()
        self.chart = chart_of(
            [
                scored(111161, *[10] * 40, *[9] * 20, at=now),
                facts(111161, title="The Shawshank Redemption", box_office_usd=28_341_469),
                scored(68646, *[9] * 40, at=now - 86_400),
                facts(
                    68646,
                    title="The Godfather",
                    year=1972,
                    genres=("Crime", "Drama"),
                    box_office_usd=134_966_411,
                ),
                scored(5, 10, at=now),
                scored(6, 4, 4, 5, at=now - 400 * 86_400),
                facts(6, title="Noir", year=1948, genres=("Film-Noir",), type=2),
                facts(7, title="Unrated", box_office_usd=100),
            ]
        )
        self.watchers = Watchers(CONFIG.max_watchers)

    def change(self, movie: int, *scores: int) -> None:
        entry = self.chart.get(movie)
        changed = entry.tally.changed + 1 if entry and entry.tally else 1
        self.chart.put_tally(scored(movie, *scores, changed=changed))
        self.watchers.notify([movie])


@contextlib.asynccontextmanager
async def serving(
    here: Here, config: ChartConfig
) -> AsyncIterator["rankings_pb2_grpc.RankingServiceAsyncStub"]:
    rankings = RankingService(here, Answers(10, 1), PageTokens("secret"), here.watchers, config)
    service = pb.DESCRIPTOR.services_by_name["RankingService"]
    async with served(service, rankings) as address, grpc.aio.insecure_channel(address) as channel:
        yield rankings_pb2_grpc.RankingServiceStub(channel)
