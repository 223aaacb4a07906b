"""`python -m movie_svc serve`, `… import FILE.jsonl`, `… import-catalogue --movies M.csv --links L.csv`"""

import argparse
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import aiohttp
from marquee.movies.v1 import movies_pb2

from mesh import kafka, migrations, pages, postgres, redisdb, server, tables, transactions
from mesh.config import load
from mesh.errors import MarqueeError
from mesh.hedge import HedgedReads
from mesh.outbox import Relay
from mesh.pruning import Pruner
from mesh.turns import Turns
from movie_svc import metrics
from movie_svc.asking.answers import OmdbAnswers
from movie_svc.asking.asker import MovieAsker
from movie_svc.asking.lease import Leases
from movie_svc.asking.plots import Plots
from movie_svc.asking.refresh import Refresher
from movie_svc.asking.refresh_queue import RefreshQueue
from movie_svc.caching.cache import L1, RedisCache
from movie_svc.caching.renewal import Renewal
from movie_svc.caching.tracking import Tracker
from movie_svc.config import CacheConfig, FreshnessConfig, OmdbConfig, PagesConfig
from movie_svc.finder import Finder
from movie_svc.importer import Importer
from movie_svc.omdb.calls import Calls
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.quota import Quota
from movie_svc.reader import MovieReader
from movie_svc.service import MovieService
from movie_svc.storing import changes, naming
from movie_svc.storing.listings import Listings
from movie_svc.storing.store import AGED, Store
from movie_svc.storing.typos import Typos

NAME: Final = "movie_svc"
_IMPORT_TIMEOUT_S: Final = 60.0
_PRUNE_INTERVAL_S: Final = 3600.0
MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve() -> None:
    omdb_config, freshness, cache_config = load(OmdbConfig), load(FreshnessConfig), load(CacheConfig)
    pg_config, kafka_config = load(postgres.PostgresConfig), load(kafka.KafkaConfig)
    service_server = server.Server(NAME, load(server.ServerConfig))
    tokens = pages.PageTokens(load(PagesConfig).key)
    await migrations.migrate(pg_config.own_session, MIGRATIONS)
    async with AsyncExitStack() as stack:
        pg = await postgres.connect(pg_config)
        stack.push_async_callback(pg.close)
        redis = redisdb.connect(load(redisdb.RedisConfig))
        stack.push_async_callback(redis.aclose)
        session = await stack.enter_async_context(aiohttp.ClientSession())

        # Another release's keys would answer one title with another.
        await naming.renew_all(pg)
        hedged = HedgedReads(pg, metrics.HEDGED)
        store, listings, l1 = Store(pg, hedged), Listings(pg, hedged), L1(cache_config)
        quota = Quota(Calls(pg), omdb_config)
        stack.push_async_callback(quota.close)
        omdb = Omdb(omdb_config, quota, session)
        refresh_queue = RefreshQueue(redis, enabled=omdb_config.enabled)
        redis_cache = RedisCache(redis, cache_config)
        answers = OmdbAnswers(l1, redis_cache, store, listings, freshness)
        leases = Leases(redis, redis_cache, omdb_config.deadline_s)
        reader = MovieReader(l1, redis_cache, store, MovieAsker(omdb, leases, answers), refresh_queue)
        renewal = Renewal(l1, redis_cache, store)
        finder = Finder(store, listings, Typos(hedged), reader, answers, omdb, refresh_queue)
        service = MovieService(
            reader,
            finder,
            listings,
            Plots(store, omdb, answers),
            tokens,
            grace_s=freshness.grace_s,
        )
        turns = Turns(pg_config)
        sender = Relay(
            changes.OUTBOX, pg, turns, lambda: changes.begin(kafka_config), changes.METERS, changes.BATCH
        )

        async def send_events() -> None:
            await kafka.ensure_topics(kafka_config, [changes.CHANGED])
            await sender.run()

        service_server.add(movies_pb2.DESCRIPTOR.services_by_name["MovieService"], service)
        service_server.health.depends_on("postgres", pg.ping_any)
        service_server.health.depends_on("redis", redisdb.probe(redis), optional=True)
        service_server.health.depends_on("omdb", omdb.ping, optional=True)
        service_server.background("replica lag", pg.watch)
        service_server.background("invalidation", Tracker(redis, l1, redis_cache).run)
        service_server.background("refresh queue", refresh_queue.run)
        service_server.background("transactions", lambda: transactions.watch(pg))
        service_server.background("outbox", changes.watch(pg).run)
        service_server.background("relay", send_events)
        service_server.background("names", lambda: naming.keep(pg))
        service_server.background("pruner", Pruner(pg, AGED, metrics.PRUNED, _PRUNE_INTERVAL_S).run)
        service_server.background(
            "refresh", Refresher(omdb_config, store, turns, answers, omdb, refresh_queue).run
        )
        await service_server.run()
        await reader.settled()
        await renewal.settled()


async def run_import(options: argparse.Namespace) -> None:
    loaded = load(postgres.PostgresConfig)
    # Nobody waits for a batch as callers wait for an answer, and it is a thousand times as large.
    pg_config = replace(loaded, timeout_s=max(loaded.timeout_s, _IMPORT_TIMEOUT_S))
    await migrations.migrate(pg_config.own_session, MIGRATIONS)
    pg = await postgres.connect(pg_config)
    redis = redisdb.connect(load(redisdb.RedisConfig))
    try:
        cache_config, freshness, hedged = (
            load(CacheConfig),
            load(FreshnessConfig),
            HedgedReads(pg, metrics.HEDGED),
        )
        store, redis_cache = Store(pg, hedged), RedisCache(redis, cache_config)
        answers = OmdbAnswers(L1(cache_config), redis_cache, store, Listings(pg, hedged), freshness)
        importer = Importer(store, answers, freshness)
        if options.command == "import":
            report = await importer.answers(options.file, from_start=options.from_start)
        else:
            report = await importer.catalogue(options.movies, options.links)
    except (OSError, ValueError, MarqueeError) as error:
        raise SystemExit(f"{options.command}: {error}") from None
    finally:
        await pg.close()
        await redis.aclose()
    if report.passed.count:
        raise SystemExit(tables.PASSED_OVER_CODE)
    if report.titles == 0 and report.lines == 0:
        print(f"{options.command}: nothing to do; --from-start imports it again", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m movie_svc", description="Movie metadata.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve MovieService until SIGTERM")
    answers = commands.add_parser("import", help="store OMDb's answers, one JSON a line")
    answers.add_argument("file", type=Path)
    answers.add_argument("--from-start", action="store_true", help="also what was imported before")
    listed = commands.add_parser("import-catalogue", help="store titles, years and genres of MovieLens")
    listed.add_argument("--movies", type=Path, required=True, help="MovieLens' movies.csv")
    listed.add_argument("--links", type=Path, required=True, help="MovieLens' links.csv")
    options = parser.parse_args()
    server.main(NAME, serve if options.command == "serve" else lambda: run_import(options))


if __name__ == "__main__":
    main()
