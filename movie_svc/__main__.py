"""movie_svc's process, `python -m movie_svc serve`, and its commands: migrate, import, import-catalogue."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import aiohttp
from marquee.movies.v1 import movies_pb2

from mesh import kafka, migrations, redisdb, tables, transactions
from mesh.config import load
from mesh.hedge import HedgedReads
from mesh.outbox import Relay
from mesh.pages import PagesConfig, PageTokens
from mesh.postgres import PostgresConfig
from mesh.program import Command, Parts, Process, Program
from mesh.pruning import Pruner
from mesh.switches import EARLY_REFRESH, OMDB_CALLS, OMDB_SEARCH
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
from movie_svc.config import CacheConfig, FreshnessConfig, OmdbConfig
from movie_svc.finder import Finder
from movie_svc.importer import Importer, ImportReport
from movie_svc.omdb.calls import Calls
from movie_svc.omdb.client import Omdb
from movie_svc.omdb.quota import Quota
from movie_svc.reader import MovieReader
from movie_svc.service import MovieService
from movie_svc.storing import changes, naming
from movie_svc.storing.listings import Listings
from movie_svc.storing.store import AGED, Store
from movie_svc.storing.typos import Typos

_IMPORT_TIMEOUT_S: Final = 60.0
_PRUNE_INTERVAL_S: Final = 3600.0
MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve(process: Process) -> None:
    """Answers movies, searches and lists."""
    omdb_config, freshness, cache_config = load(OmdbConfig), load(FreshnessConfig), load(CacheConfig)
    pg_config, kafka_config = load(PostgresConfig), load(kafka.KafkaConfig)
    tokens = PageTokens(load(PagesConfig).key)
    await migrations.migrate(pg_config.own_session, MIGRATIONS)
    pg, redis = await process.postgres(pg_config), process.redis()
    await process.switches(OMDB_CALLS, OMDB_SEARCH, EARLY_REFRESH)
    session = await process.stack.enter_async_context(aiohttp.ClientSession())

    # Another release's keys would answer one title with another.
    await naming.renew_all(pg)
    hedged = HedgedReads(pg, metrics.HEDGED)
    store, listings, l1 = Store(pg, hedged), Listings(pg, hedged), L1(cache_config)
    quota = Quota(Calls(pg), omdb_config)
    process.stack.push_async_callback(quota.close)
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
    sender = Relay(changes.OUTBOX, turns, lambda: changes.begin(kafka_config), changes.METERS, changes.BATCH)

    async def send_events() -> None:
        await kafka.ensure_topics(kafka_config, [changes.CHANGED])
        await sender.run()

    server = process.server
    server.add(movies_pb2.DESCRIPTOR.services_by_name["MovieService"], service)
    server.health.depends_on("postgres", pg.ping_any)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.health.depends_on("omdb", omdb.ping, optional=True)
    server.background("invalidation", Tracker(redis, l1, redis_cache).run)
    server.background("refresh queue", refresh_queue.run)
    server.background("transactions", lambda: transactions.watch(pg))
    server.background("outbox", changes.watch(pg).run)
    server.background("relay", send_events)
    if omdb_config.enabled:
        server.background("reserve of OMDb's calls", quota.keep_reserve)
    server.background("names", lambda: naming.keep(pg))
    server.background("pruner", Pruner(pg, AGED, metrics.PRUNED, _PRUNE_INTERVAL_S).run)
    server.background("refresh", Refresher(omdb_config, store, turns, answers, omdb, refresh_queue).run)
    await server.run()
    await reader.settled()
    await renewal.settled()


async def migrate() -> None:
    """Brings the schema and the topics up to date."""
    await migrations.migrate(load(PostgresConfig).own_session, MIGRATIONS)
    await kafka.ensure_topics(load(kafka.KafkaConfig), [changes.CHANGED])


async def import_answers(given: argparse.Namespace, parts: Parts) -> None:
    """Stores OMDb's answers of a file."""
    importer = await _importer(parts)
    _tell(given.command, await importer.answers(given.file, from_start=given.from_start))


async def import_catalogue(given: argparse.Namespace, parts: Parts) -> None:
    """Stores MovieLens' list of movies."""
    importer = await _importer(parts)
    _tell(given.command, await importer.catalogue(given.movies, given.links))


async def _importer(parts: Parts) -> Importer:
    loaded = load(PostgresConfig)
    # Nobody waits for a batch as callers wait for an answer, and it is a thousand times as large.
    pg_config = replace(loaded, timeout_s=max(loaded.timeout_s, _IMPORT_TIMEOUT_S))
    await migrations.migrate(pg_config.own_session, MIGRATIONS)
    pg = await parts.postgres(pg_config)
    cache_config, freshness, hedged = (
        load(CacheConfig),
        load(FreshnessConfig),
        HedgedReads(pg, metrics.HEDGED),
    )
    store, redis_cache = Store(pg, hedged), RedisCache(parts.redis(), cache_config)
    answers = OmdbAnswers(L1(cache_config), redis_cache, store, Listings(pg, hedged), freshness)
    return Importer(store, answers, freshness)


def _tell(command: str, report: ImportReport) -> None:
    if report.passed.count:
        raise SystemExit(tables.PASSED_OVER_CODE)
    if report.titles == 0 and report.lines == 0:
        print(f"{command}: nothing to do; --from-start imports it again", file=sys.stderr)


def _answers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--from-start", action="store_true", help="also what was imported before")


def _catalogue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--movies", type=Path, required=True, help="MovieLens' movies.csv")
    parser.add_argument("--links", type=Path, required=True, help="MovieLens' links.csv")


PROGRAM: Final = Program(
    "movie_svc",
    {"serve": serve},
    migrate,
    [
        Command(
            "import",
            "Store OMDb's answers, one JSON a line.",
            import_answers,
            _answers_arguments,
            (OSError, ValueError),
        ),
        Command(
            "import-catalogue",
            "Store titles, years and genres of MovieLens.",
            import_catalogue,
            _catalogue_arguments,
            (OSError, ValueError),
        ),
    ],
)

if __name__ == "__main__":
    PROGRAM.main()
