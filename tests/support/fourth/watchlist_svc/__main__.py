"""The process of watchlist_svc: `python -m watchlist_svc serve`."""

import argparse
from pathlib import Path
from typing import Final

from marquee.watchlists.v1 import watchlists_pb2

from mesh import migrations, postgres
from mesh.config import load
from mesh.server import Server, ServerConfig, main
from watchlist_svc.config import WatchlistConfig
from watchlist_svc.service import WatchlistService
from watchlist_svc.store import Store

MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve() -> None:
    """Answers RPCs."""
    config = load(postgres.PostgresConfig)
    await migrations.migrate(config.own_session, MIGRATIONS)
    pg = await postgres.connect(config)
    server = Server("watchlist_svc", load(ServerConfig))
    service = watchlists_pb2.DESCRIPTOR.services_by_name["WatchlistService"]
    server.add(service, WatchlistService(Store(pg), load(WatchlistConfig)))
    server.health.depends_on("postgres", pg.ping_any)
    server.background("replica lag", pg.watch)
    try:
        await server.run()
    finally:
        await pg.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m watchlist_svc")
    parser.add_argument("role", choices=["serve"])
    parser.parse_args()
    main("watchlist_svc", serve)
