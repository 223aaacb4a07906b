"""What reading an own rating costs rating_svc: `python -m tests.load.rating_svc.own [CALLS] [KIND]`.

In instructions of the server's own, as `tests.load.mesh.boundary` counts them, beside a handler of ready
bytes behind the same boundary. The server is a process of its own with the service's read path in it; Redis
and the replica are those of the mesh of this checkout, which must be up, with data (`make demo`). Each of the
calls under way at the same time is another user's; most of them have rated the movie. It needs valgrind.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import grpc
import uvloop

from local.servers.services import stores
from local.stack import authority
from local.stack import state as states
from local.stack.layout import HOST, default_home
from mesh import names, redisdb, rpc, tls
from mesh.hedge import HedgedReads
from mesh.pages import PageTokens
from mesh.pipe import Pipe
from mesh.postgres import PostgresConfig, connect
from rating_svc import metrics
from rating_svc.cache import PendingWrites
from rating_svc.config import PendingConfig
from rating_svc.service import RatingService
from rating_svc.store import RatingStore, Row
from rating_svc.submissions import Position
from tests.load.mesh import boundary

AT_ONCE: Final = 16
KINDS: Final = ("ready bytes", "no stores", "Redis", "replica", "own rating")
_ID: Final = boundary.NAME.rpartition("/")[2]


async def serve(kind: str, port: int, folder: str) -> None:
    server = grpc.aio.server()
    servicer: object = boundary.Ratings()
    if kind != "ready bytes":
        servicer = await service(
            redis=kind in ("Redis", "own rating"), replica=kind in ("replica", "own rating")
        )
    server.add_generic_rpc_handlers((rpc.handlers(boundary.SERVICE, servicer, {tls.EDGE}),))
    credentials = tls.server_credentials(boundary.files(folder, "rating_svc"))
    server.add_secure_port(f"{HOST}:{port}", credentials)
    await server.start()
    await server.wait_for_termination()


class NoRedis:
    """Answers at once that nothing is pending."""

    async def get(self, _user: str, _movie: int) -> tuple[None, bool]:
        return None, True


class NoReplica:
    """Answers at once."""

    async def get(self, _user: str, movie: int, *, fresh: bool) -> Row:
        return Row(movie, 7, 1_700_000_000_000_000, 1_700_000_000_000_000, Position(1, 1))


async def service(*, redis: bool, replica: bool) -> RatingService:
    """The service as `rating_svc serve` makes it, as far as it reads; other stores answer at once."""
    home = default_home()
    settings = stores(states.running(home).stack(home), "rating_svc")
    postgres = await connect(
        PostgresConfig(
            primary=settings["MARQUEE_PG_PRIMARY"],
            replicas=tuple(settings["MARQUEE_PG_REPLICAS"].split(",")),
            timeout_s=60,
            # All that is measured would be late, where each instruction takes fifty times as long.
            max_lag_s=3600,
        )
    )
    pipe = Pipe(redisdb.connect(redisdb.RedisConfig(url=settings["MARQUEE_REDIS_URL"], timeout_s=60)), 1)
    pending = PendingWrites(pipe, PendingConfig())
    store = RatingStore(postgres, HedgedReads(postgres, metrics.HEDGED, hedge_s=60))
    nothing: Any = None
    rows: Any = store if replica else NoReplica()
    writes: Any = pending if redis else NoRedis()
    return RatingService(nothing, lambda _: rows, writes, nothing, PageTokens("key of no importance"))


async def raters(dsn: str) -> list[str]:
    """As many users who have rated the movie; somebody else where there are not enough."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT user_id FROM ratings WHERE movie_id = $1 LIMIT $2", names.imdb_number(_ID), AT_ONCE
        )
    finally:
        await connection.close()
    found = [str(row[0]) for row in rows]
    return found + [f"nobody-{number}" for number in range(AT_ONCE - len(found))]


def main(calls: int, kinds: Sequence[str]) -> None:
    home = default_home()
    dsn = stores(states.running(home).stack(home), "rating_svc")["MARQUEE_PG_PRIMARY"]
    asked = boundary.users(uvloop.run(raters(dsn)))
    with tempfile.TemporaryDirectory() as folder:
        for name in (tls.EDGE, "rating_svc"):
            authority.issue(Path(folder), name)
        for kind in kinds:
            cost = boundary.instructions(kind, calls // AT_ONCE, folder, asked, "tests.load.rating_svc.own")
            print(f"{kind:12} {cost:10,.0f} instructions a call", flush=True)
            if keep := os.environ.get("KEEP"):
                shutil.copy(f"{folder}/counted.2", f"{keep}.{kind.replace(' ', '-')}")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in KINDS:
        uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 480, sys.argv[2:] or KINDS)
