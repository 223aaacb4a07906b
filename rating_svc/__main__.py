"""The processes of rating_svc, `python -m rating_svc serve|worker|relay`, and `dlq` for operators."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from marquee.ratings.v1 import internal_pb2, ratings_pb2

from mesh import channel, kafka, migrations, postgres, redisdb, services, transactions
from mesh.config import ConfigError, load
from mesh.errors import MarqueeError
from mesh.hedge import HedgedReads
from mesh.kafka import BatchConsumer, KafkaConfig, KafkaProducer
from mesh.kafka.retention import Retention
from mesh.outbox import Relay
from mesh.pages import PageTokens
from mesh.pipe import Pipe
from mesh.postgres import PostgresConfig
from mesh.pruning import Pruner
from mesh.server import Server, ServerConfig, main
from mesh.turns import Turns
from rating_svc import changes, dlq, generations, growth, lives, metrics, store, topics
from rating_svc.cache import PendingWrites, Settling
from rating_svc.config import (
    WORKERS,
    MovieCheckConfig,
    PendingConfig,
    RelayConfig,
    ServeConfig,
    SubmissionLogConfig,
    WorkerConfig,
)
from rating_svc.movies import Movies
from rating_svc.registry import Registry, family
from rating_svc.service import RatingService
from rating_svc.settled import Settled
from rating_svc.store import RatingStore
from rating_svc.submission_log import SubmissionLog
from rating_svc.totals import RatingTotalsService
from rating_svc.waiting import LettersWatch
from rating_svc.worker import SubmissionHandler, make_reader
from rating_svc.writer import Writer

log = logging.getLogger(__name__)

NAME: Final = "rating_svc"
_OLD_EPOCH: Final = "MARQUEE_RATING_LOG_EPOCH"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve() -> None:
    """Answers RPCs."""
    metrics.SERVE.export()
    metrics.PENDING.export()
    pending_config, movies_config = load(PendingConfig), load(MovieCheckConfig)
    tokens = PageTokens(load(ServeConfig).page_token_key)
    await _prepare()
    pg = await postgres.connect(load(PostgresConfig))
    registry = await _register(pg)
    redis = redisdb.connect(load(redisdb.RedisConfig))
    producer = KafkaProducer(load(KafkaConfig))
    submissions = SubmissionLog(producer, pg, registry)
    settled = Settled(pg, registry, load(WorkerConfig).settle_s)
    pending = PendingWrites(Pipe(redis, pending_config.redis_pause_s), pending_config, settled.has)
    movie_svc = (
        channel.connect(
            movies_config.target,
            channel.ChannelConfig(timeout_s=movies_config.timeout_s, attempts=1),
            service="movie_svc",
        )
        if movies_config.target
        else None
    )
    ratings = RatingStore(pg, HedgedReads(pg, metrics.HEDGED))
    server = Server(NAME, load(ServerConfig))
    server.add(
        ratings_pb2.DESCRIPTOR.services_by_name["RatingService"],
        RatingService(
            Writer(submissions, pending), ratings, pending, Movies(movie_svc, movies_config), tokens
        ),
    )
    totals = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
    server.add(totals, RatingTotalsService(pg), callers=services.callers(totals.full_name))
    server.health.depends_on("kafka", submissions.ping)
    server.health.depends_on("postgres", pg.ping_any)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.background("replica lag", pg.watch)
    server.background("lives of the log", submissions.follow)
    server.background("how far it is stored", settled.follow)
    # Here too: memory must stay bounded where no worker runs.
    server.background("stale pending writes", pending.expire)
    try:
        await server.run()
    finally:
        await producer.close()
        await redis.aclose()
        if movie_svc is not None:
            await movie_svc.close()
        await pg.close()


async def worker() -> None:
    """Brings the log into the database."""
    metrics.WORKER.export()
    metrics.PENDING.export()
    config, kafka_config, retention = load(WorkerConfig), load(KafkaConfig), load(Retention)
    pending_config = load(PendingConfig)
    await _prepare()
    pg = await postgres.connect(load(PostgresConfig))
    registry = await _register(pg)
    redis = redisdb.connect(load(redisdb.RedisConfig))
    producer = KafkaProducer(kafka_config)
    pending = PendingWrites(Pipe(redis, pending_config.redis_pause_s), pending_config)
    settling = Settling(pending, config.settle_s)

    def consumer() -> BatchConsumer:
        return BatchConsumer(kafka_config, WORKERS, [family(topics.SUBMITTED)])

    handler = SubmissionHandler(registry, settling, retention, WORKERS)
    run = make_reader(consumer, kafka_config, producer, pg, handler, config)
    pruner = Pruner(pg, store.aged(retention), metrics.PRUNED, config.prune_interval_s)
    server = Server(f"{NAME}-worker", load(ServerConfig))
    server.health.depends_on("worker", run.ping, required=True)
    server.health.depends_on("kafka", producer.ping)
    server.health.depends_on("postgres", pg.ping)
    server.background("replica lag", pg.watch)
    server.background("worker", run.run)
    server.background("backlog", kafka.Backlog(kafka_config, pg, WORKERS).run)
    server.background("replicas of the log", kafka.Replicas(kafka_config).run)
    server.background("transactions", lambda: transactions.watch(pg))
    server.background("letters", LettersWatch(kafka_config, list(_DEAD_LETTERS.values())).run)
    server.background("settling", settling.run)
    server.background("stale pending writes", pending.expire)
    server.background("pruner", pruner.run)
    try:
        await server.run()
    finally:
        await producer.close()
        await redis.aclose()
        await pg.close()


async def relay() -> None:
    """Hands changes on."""
    metrics.RELAY.export()
    pg_config, config = load(PostgresConfig), load(RelayConfig)
    await _prepare()
    producer = KafkaProducer(load(KafkaConfig))

    pg = await postgres.connect(pg_config)
    sender = Relay(
        changes.outbox(),
        pg,
        Turns(pg_config, silence_s=config.takeover_s),
        lambda: contextlib.nullcontext(producer),
        changes.METERS,
        config.batch,
        config.poll_s,
    )
    server = Server(f"{NAME}-relay", load(ServerConfig))
    server.health.depends_on("kafka", producer.ping)
    server.health.depends_on("postgres", pg.ping)
    server.background("replica lag", pg.watch)
    server.background("outbox", changes.watch(pg).run)
    server.background("relay", sender.run)
    try:
        await server.run()
    finally:
        await producer.close()
        await pg.close()


async def _prepare() -> None:
    """Brings the schema up to date and creates the topics that are missing."""
    kafka_config = load(KafkaConfig)
    if os.environ.get(_OLD_EPOCH):
        log.warning("%s is ignored: epochs come from the log itself (docs/decisions/0012)", _OLD_EPOCH)
    await asyncio.gather(
        migrations.migrate(load(PostgresConfig).own_session, _MIGRATIONS),
        kafka.ensure_topics(
            kafka_config, topics.declared(load(SubmissionLogConfig), kafka_config, load(Retention))
        ),
    )


async def _register(pg: postgres.Postgres) -> Registry:
    return await generations.prepare(load(SubmissionLogConfig), load(KafkaConfig), load(Retention), pg)


async def dead_letter_command(verb: str, ids: list[str], topic: str) -> None:
    """Lists, shows or redrives dead letters."""
    config = load(KafkaConfig)
    if verb == "redrive":
        producer = KafkaProducer(config)
        pg = await postgres.connect(load(PostgresConfig))
        try:
            registry = Registry(await lives.known(pg))
            sent = await dlq.redrive(config, producer, ids, topic, dlq.Routes(registry))
        finally:
            await producer.close()
            await pg.close()
        print(f"sent {len(sent)} dead letters again")
        return
    letters = await dlq.read(config, topic, redriven=bool(ids))
    unknown = set(ids) - {letter.id for letter in letters}
    if unknown:
        raise dlq.UnknownLetter(f"{topic} has no letter {', '.join(sorted(unknown))}")
    for letter in letters:
        if verb == "show" and (not ids or letter.id in ids):
            print(dlq.shown(letter))
        elif verb == "list":
            print(f"{letter.id:10} {letter.time:%Y-%m-%d %H:%M:%S} {letter.reason:24} {letter.origin}")
    print(f"{len(letters)} dead letters", file=sys.stderr)


async def grow(partitions: int) -> None:
    """Gives the log of submissions more partitions while it is written to and read."""
    kafka_config = load(KafkaConfig)
    pg = await postgres.connect(load(PostgresConfig))
    producer = KafkaProducer(kafka_config)
    try:
        made, waited_s = await growth.grow(partitions, kafka_config, load(Retention), pg, producer)
    finally:
        await producer.close()
        await pg.close()
    days = load(Retention).held_s // 86_400 + 1
    print(
        f"submissions go to {made.topic} now, {made.partitions} partitions, epoch {made.epoch}; writes "
        f"waited for {waited_s:.1f} s. Delete the topic before it after {days} days"
    )


# All speak of themselves by the same headers; the others hold what ranking_svc could not count or keep.
_DEAD_LETTERS: Final = {
    "submissions": topics.DEAD_LETTERS,
    "changes": topics.CHANGED_DEAD_LETTERS,
    "facts": topics.FACTS_DEAD_LETTERS,
}
_ROLES: Final = {"serve": serve, "worker": worker, "relay": relay}


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m rating_svc", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for role, entry in _ROLES.items():
        commands.add_parser(role, help=entry.__doc__)
    letters = commands.add_parser("dlq", help=dead_letter_command.__doc__)
    letters.add_argument("verb", choices=("list", "show", "redrive"))
    letters.add_argument("ids", nargs="*", metavar="PARTITION:OFFSET", help="all not yet redriven, if none")
    letters.add_argument("--of", choices=tuple(_DEAD_LETTERS), default="submissions", help="of which topic")
    growing = commands.add_parser("grow", help=grow.__doc__)
    growing.add_argument("partitions", type=int, help="how many: more than the log has now")
    given = parser.parse_args(arguments)
    if given.command == "grow":
        try:
            asyncio.run(grow(given.partitions))
        except (growth.CantGrow, KafkaException, MarqueeError, ConfigError, RuntimeError) as error:
            raise SystemExit(f"rating_svc: {error}") from None
        return
    if given.command == "dlq":
        try:
            asyncio.run(dead_letter_command(given.verb, given.ids, _DEAD_LETTERS[given.of]))
        except (dlq.UnknownLetter, KafkaException, MarqueeError, ConfigError) as error:
            raise SystemExit(f"rating_svc: {error}") from None
        return
    name = NAME if given.command == "serve" else f"{NAME}-{given.command}"
    main(name, _ROLES[given.command])


if __name__ == "__main__":
    run(sys.argv[1:])
