"""ranking_svc's processes, `python -m ranking_svc serve|consumer`, and its command: migrate."""

import dataclasses
from pathlib import Path
from typing import Final

from marquee.movies.v1 import movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import internal_pb2_grpc

from mesh import channel, kafka, migrations, postgres, redisdb, transactions
from mesh.config import load
from mesh.kafka.retention import Retention
from mesh.pages import PagesConfig, PageTokens
from mesh.program import Process, Program
from mesh.pruning import Pruner
from mesh.switches import STREAMS, TRENDING
from ranking_svc import inbox, metrics, topics
from ranking_svc.cache import Answers
from ranking_svc.config import ChartConfig, ConsumerConfig, FormulaConfig, PeersConfig
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


async def serve(process: Process) -> None:
    """Answers scores and charts from memory; one of all servers rebuilds them hourly."""
    metrics.SERVE.export()
    database, charts, formula = load(postgres.PostgresConfig), load(ChartConfig), load(FormulaConfig)
    peers, channels = load(PeersConfig), load(channel.ChannelConfig)
    tokens = PageTokens(load(PagesConfig).key)
    await migrations.migrate(database.own_session, MIGRATIONS)
    pg, redis = await process.postgres(database), process.redis()
    patient = dataclasses.replace(channels, timeout_s=_RECOUNT_TIMEOUT_S)
    ratings = process.peer(peers.rating_svc, patient, "rating_svc")
    store, nudges, watchers = Store(pg), Nudges(redis), Watchers(charts.max_watchers)
    await process.switches(TRENDING, STREAMS)
    STREAMS.when_turned(watchers.notify_all)
    feed = Feed(store, watchers, charts, formula)
    rebuilder = Rebuilder(store, feed, nudges, formula)
    offsets = topics.Offsets(load(kafka.KafkaConfig), pg)
    reconciler = Reconciler(store, internal_pb2_grpc.RatingTotalsServiceStub(ratings), offsets.fence)
    server, services = process.server, rankings_pb2.DESCRIPTOR.services_by_name
    server.add(
        services["RankingService"],
        RankingService(feed, Answers(charts.cached_pages, charts.max_age_s), tokens, watchers, charts),
    )
    # For operators, who always may; the edge is not let in.
    server.add(services["RankingAdminService"], RankingAdminService(rebuilder, reconciler), callers=())
    server.health.depends_on("charts", feed.ready)
    server.health.depends_on("postgres", pg.ping_any, optional=True)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.background("charts", feed.run)
    server.background("rebuild", rebuilder.run)
    server.background("nudges", lambda: nudges.listen(feed.nudge))
    server.at_drain(watchers.close)
    await server.run()


async def consumer(process: Process) -> None:
    """Takes changes of ratings and of movies in."""
    metrics.CONSUMER.export()
    database, queue, config = load(postgres.PostgresConfig), load(kafka.KafkaConfig), load(ConsumerConfig)
    movie_svc = load(PeersConfig).movie_svc
    await migrate()
    pg, redis, producer = await process.postgres(database), process.redis(), process.producer()
    movies = process.peer(movie_svc, load(channel.ChannelConfig), "movie_svc")
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

    server = process.server
    server.health.depends_on("postgres", pg.ping)
    server.health.depends_on("kafka", producer.ping)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.health.depends_on("aggregates", ratings.ping, required=True)
    server.health.depends_on("facts", facts.ping, optional=True)
    server.background("aggregates", take_changes)
    server.background("facts", take_facts)
    server.background("asking for facts", filler.run)
    server.background("transactions", lambda: transactions.watch(pg))
    for reader in (topics.AGGREGATES_GROUP, topics.FACTS_GROUP):
        server.background(f"backlog of {reader}", kafka.Backlog(queue, pg, reader).run)
    server.background("inbox", pruner.run)
    await server.run()


async def migrate() -> None:
    """Brings the schema and the topics up to date."""
    await migrations.migrate(load(postgres.PostgresConfig).own_session, MIGRATIONS)
    await kafka.ensure_topics(load(kafka.KafkaConfig), [topics.DEAD_LETTERS, topics.MOVIES_DEAD_LETTERS])


PROGRAM: Final = Program("ranking_svc", {"serve": serve, "consumer": consumer}, migrate)

if __name__ == "__main__":
    PROGRAM.main()
