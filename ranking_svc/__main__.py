"""`python -m ranking_svc serve` answers calls; `python -m ranking_svc consumer` takes changes in."""

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Final

from marquee.movies.v1 import movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import internal_pb2_grpc

from mesh import channel, kafka, migrations, postgres, redisdb, transactions
from mesh.config import load
from mesh.kafka.retention import Retention
from mesh.pages import PageTokens
from mesh.pruning import Pruner
from mesh.server import Server, ServerConfig, main
from ranking_svc import inbox, metrics, topics
from ranking_svc.cache import Answers
from ranking_svc.config import ChartConfig, ConsumerConfig, FormulaConfig, PeersConfig, TokenConfig
from ranking_svc.consumer import aggregator
from ranking_svc.facts import FactsFiller, facts_consumer
from ranking_svc.feed import Feed
from ranking_svc.nudges import Nudges
from ranking_svc.rebuild import Rebuilder
from ranking_svc.reconcile import Reconciler
from ranking_svc.service import RankingAdminService, RankingService
from ranking_svc.store import Store
from ranking_svc.watch import Watchers

MIGRATIONS: Final = Path(__file__).parent / "migrations"
# A recount of all ratings takes longer than any other call.
_RECOUNT_TIMEOUT_S: Final = 120.0
_PRUNE_INTERVAL_S: Final = 60.0


async def serve() -> None:
    """Answers scores and charts from memory; one of all servers rebuilds them hourly."""
    metrics.SERVE.export()
    database, charts, formula = load(postgres.PostgresConfig), load(ChartConfig), load(FormulaConfig)
    peers, channels = load(PeersConfig), load(channel.ChannelConfig)
    server = Server("ranking_svc", load(ServerConfig))
    await migrations.migrate(database.own_session, MIGRATIONS)
    pg = await postgres.connect(database)
    redis = redisdb.connect(load(redisdb.RedisConfig))
    ratings = channel.connect(
        peers.rating_svc,
        dataclasses.replace(channels, timeout_s=_RECOUNT_TIMEOUT_S),
        service="rating_svc",
    )
    store, nudges, watchers = Store(pg), Nudges(redis), Watchers(charts.max_watchers)
    feed = Feed(store, watchers, charts, formula)
    rebuilder = Rebuilder(store, feed, nudges, formula)
    offsets = topics.Offsets(load(kafka.KafkaConfig), pg)
    reconciler = Reconciler(store, internal_pb2_grpc.RatingTotalsServiceStub(ratings), offsets.fence)
    services = rankings_pb2.DESCRIPTOR.services_by_name
    server.add(
        services["RankingService"],
        RankingService(
            feed,
            Answers(charts.cached_pages, charts.max_age_s),
            PageTokens(load(TokenConfig).key),
            watchers,
            charts,
        ),
    )
    # For operators, who always may; the edge is not let in.
    server.add(services["RankingAdminService"], RankingAdminService(rebuilder, reconciler), callers=())
    server.health.depends_on("charts", feed.ready)
    server.health.depends_on("postgres", pg.ping_any, optional=True)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.background("replica lag", pg.watch)
    server.background("charts", feed.run)
    server.background("rebuild", rebuilder.run)
    server.background("nudges", lambda: nudges.listen(feed.nudge))
    server.at_drain(watchers.close)
    try:
        await server.run()
    finally:
        await asyncio.gather(pg.close(), redis.aclose(), ratings.close(), return_exceptions=True)


async def consumer() -> None:
    """Takes changes of ratings and of movies in."""
    metrics.CONSUMER.export()
    database, queue, config = load(postgres.PostgresConfig), load(kafka.KafkaConfig), load(ConsumerConfig)
    server = Server("ranking_svc", load(ServerConfig))
    await migrations.migrate(database.own_session, MIGRATIONS)
    await kafka.ensure_topics(queue, [topics.DEAD_LETTERS, topics.MOVIES_DEAD_LETTERS])
    pg = await postgres.connect(database)
    redis = redisdb.connect(load(redisdb.RedisConfig))
    producer = kafka.KafkaProducer(queue)
    movies = channel.connect(load(PeersConfig).movie_svc, load(channel.ChannelConfig), service="movie_svc")
    store, nudges = Store(pg), Nudges(redis)
    ratings = aggregator(
        lambda: kafka.BatchConsumer(queue, topics.AGGREGATES_GROUP, [topics.RATINGS_CHANGED]),
        queue,
        pg,
        producer,
        nudges,
        config,
    )
    facts = facts_consumer(
        lambda: kafka.BatchConsumer(queue, topics.FACTS_GROUP, [topics.MOVIES_CHANGED]),
        queue,
        pg,
        producer,
        nudges,
        config,
    )
    filler = FactsFiller(store, movies_pb2_grpc.MovieServiceStub(movies), nudges)
    pruner = Pruner(
        pg, inbox.aged(queue, load(Retention), topics.RATINGS_CHANGED), metrics.PRUNED, _PRUNE_INTERVAL_S
    )

    async def take_changes() -> None:
        await topics.await_topic(queue, topics.RATINGS_CHANGED)
        await ratings.run()

    async def take_facts() -> None:
        await topics.await_topic(queue, topics.MOVIES_CHANGED)
        await facts.run()

    server.health.depends_on("postgres", pg.ping)
    server.health.depends_on("kafka", producer.ping)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.health.depends_on("aggregates", ratings.ping, required=True)
    server.health.depends_on("facts", facts.ping, optional=True)
    server.background("replica lag", pg.watch)
    server.background("aggregates", take_changes)
    server.background("facts", take_facts)
    server.background("asking for facts", filler.run)
    server.background("transactions", lambda: transactions.watch(pg))
    for reader in (topics.AGGREGATES_GROUP, topics.FACTS_GROUP):
        server.background(f"backlog of {reader}", kafka.Backlog(queue, pg, reader).run)
    server.background("inbox", pruner.run)
    try:
        await server.run()
    finally:
        await asyncio.gather(
            producer.close(),
            pg.close(),
            redis.aclose(),
            movies.close(),
            return_exceptions=True,
        )


ROLES: Final = {"serve": serve, "consumer": consumer}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        raise SystemExit(f"usage: python -m ranking_svc {'|'.join(ROLES)}")
    main(f"ranking_svc {sys.argv[1]}", ROLES[sys.argv[1]])
