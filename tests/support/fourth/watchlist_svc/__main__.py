"""The process of watchlist_svc: `python -m watchlist_svc serve`."""

from pathlib import Path
from typing import Final

from marquee.watchlists.v1 import watchlists_pb2

from mesh import migrations
from mesh.config import load
from mesh.postgres import PostgresConfig
from mesh.program import Process, Program
from watchlist_svc.config import WatchlistConfig
from watchlist_svc.service import WatchlistService
from watchlist_svc.store import Store

MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve(process: Process) -> None:
    """Answers RPCs."""
    config = load(WatchlistConfig)
    await migrate()
    pg = await process.postgres()
    service = watchlists_pb2.DESCRIPTOR.services_by_name["WatchlistService"]
    process.server.add(service, WatchlistService(Store(pg), config))
    process.server.health.depends_on("postgres", pg.ping_any)
    await process.server.run()


async def migrate() -> None:
    """Brings the schema up to date."""
    await migrations.migrate(load(PostgresConfig).own_session, MIGRATIONS)


PROGRAM: Final = Program("watchlist_svc", {"serve": serve}, migrate)

if __name__ == "__main__":
    PROGRAM.main()
