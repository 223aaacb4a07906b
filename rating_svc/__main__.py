"""rating_svc's processes, `python -m rating_svc serve|worker|relay`, and its commands: migrate, dlq, grow."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from marquee.ratings.v1 import internal_pb2, ratings_pb2

from mesh import channel, kafka, migrations, redisdb, services, transactions
from mesh.config import load
from mesh.hedge import HedgedReads
from mesh.kafka import BatchConsumer, KafkaConfig
from mesh.kafka.retention import Retention
from mesh.outbox import Relay
from mesh.pages import PagesConfig, PageTokens
from mesh.pipe import Pipe
from mesh.postgres import Postgres, PostgresConfig
from mesh.program import Command, Parts, Process, Program
from mesh.pruning import Pruner
from mesh.turns import Turns
from rating_svc import changes, dlq, generations, growth, lives, metrics, store, topics
from rating_svc.cache import PendingWrites, Settling
from rating_svc.config import (
    WORKERS,
    MovieCheckConfig,
    PendingConfig,
    RelayConfig,
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

_OLD_EPOCH: Final = "MARQUEE_RATING_LOG_EPOCH"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve(process: Process) -> None:
    """Takes ratings and shows users their own."""
    metrics.SERVE.export()
    metrics.PENDING.export()
    pending_config, movies_config = load(PendingConfig), load(MovieCheckConfig)
    tokens = PageTokens(load(PagesConfig).key)
    await _prepare()
    pg = await process.postgres()
    registry = await _register(pg)
    redis = process.redis()
    submissions = SubmissionLog(process.producer(), pg, registry)
    settled = Settled(pg, registry, load(WorkerConfig).settle_s)
    pending = PendingWrites(Pipe(redis, pending_config.redis_pause_s), pending_config, settled.has)
    movie_svc = None
    if movies_config.target:
        once = channel.ChannelConfig(timeout_s=movies_config.timeout_s, attempts=1)
        movie_svc = process.peer(movies_config.target, once, "movie_svc")
    ratings = RatingStore(pg, HedgedReads(pg, metrics.HEDGED))
    server = process.server
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
    server.background("lives of the log", submissions.follow)
    server.background("how far it is stored", settled.follow)
    # Here too: memory must stay bounded where no worker runs.
    server.background("stale pending writes", pending.expire)
    await server.run()


async def worker(process: Process) -> None:
    """Brings the log into the database."""
    metrics.WORKER.export()
    metrics.PENDING.export()
    config, kafka_config, retention = load(WorkerConfig), load(KafkaConfig), load(Retention)
    pending_config = load(PendingConfig)
    await _prepare()
    pg = await process.postgres()
    registry = await _register(pg)
    producer = process.producer()
    pending = PendingWrites(Pipe(process.redis(), pending_config.redis_pause_s), pending_config)
    settling = Settling(pending, config.settle_s)

    def consumer() -> BatchConsumer:
        return BatchConsumer(kafka_config, WORKERS, [family(topics.SUBMITTED)])

    handler = SubmissionHandler(registry, settling, retention, WORKERS)
    reader = make_reader(consumer, kafka_config, producer, pg, handler, config)
    server = process.server
    server.health.depends_on("worker", reader.ping, required=True)
    server.health.depends_on("kafka", producer.ping)
    server.health.depends_on("postgres", pg.ping)
    server.background("worker", reader.run)
    server.background("backlog", kafka.Backlog(kafka_config, pg, WORKERS).run)
    server.background("replicas of the log", kafka.Replicas(kafka_config).run)
    server.background("transactions", lambda: transactions.watch(pg))
    server.background("letters", LettersWatch(kafka_config, list(_DEAD_LETTERS.values())).run)
    server.background("settling", settling.run)
    server.background("stale pending writes", pending.expire)
    server.background(
        "pruner", Pruner(pg, store.aged(retention), metrics.PRUNED, config.prune_interval_s).run
    )
    await server.run()


async def relay(process: Process) -> None:
    """Hands changes on."""
    metrics.RELAY.export()
    pg_config, config = load(PostgresConfig), load(RelayConfig)
    await _prepare()
    producer = process.producer()
    pg = await process.postgres(pg_config)
    sender = Relay(
        changes.outbox(),
        Turns(pg_config, silence_s=config.takeover_s),
        lambda: contextlib.nullcontext(producer),
        changes.METERS,
        config.batch,
        config.poll_s,
    )
    server = process.server
    server.health.depends_on("kafka", producer.ping)
    server.health.depends_on("postgres", pg.ping)
    server.background("outbox", changes.watch(pg).run)
    server.background("relay", sender.run)
    await server.run()


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


async def _register(pg: Postgres) -> Registry:
    """Sees that the log of submissions has its topics, and that each has an epoch."""
    return await generations.prepare(load(SubmissionLogConfig), load(KafkaConfig), load(Retention), pg)


async def migrate() -> None:
    """All that roles do of it when they start."""
    await _prepare()
    async with AsyncExitStack() as stack:
        await _register(await Parts(stack).postgres())


async def dead_letter_command(given: argparse.Namespace, parts: Parts) -> None:
    """Lists, shows, redrives or discards dead letters."""
    config, topic, ids = load(KafkaConfig), _DEAD_LETTERS[given.of], given.ids
    if given.verb == "redrive":
        producer = parts.producer()
        registry = Registry(await lives.known(await parts.postgres()))
        sent = await dlq.redrive(config, producer, ids, topic, dlq.Routes(registry))
        print(f"sent {len(sent)} dead letters again")
        return
    if given.verb == "discard":
        if not ids:
            raise dlq.UnknownLetter("name the letters to discard: nobody will be asked for them again")
        done = await dlq.discard(config, parts.producer(), ids, topic)
        print(f"discarded {len(done)} dead letters")
        return
    letters = await dlq.read(config, topic, redriven=bool(ids))
    unknown = set(ids) - {letter.id for letter in letters}
    if unknown:
        raise dlq.UnknownLetter(f"{topic} has no letter {', '.join(sorted(unknown))}")
    for letter in letters:
        if given.verb == "show" and (not ids or letter.id in ids):
            print(dlq.shown(letter))
        elif given.verb == "list":
            print(f"{letter.id:10} {letter.time:%Y-%m-%d %H:%M:%S} {letter.reason:24} {letter.origin}")
    print(f"{len(letters)} dead letters", file=sys.stderr)


async def grow(given: argparse.Namespace, parts: Parts) -> None:
    """Adds partitions to the log of submissions while it is written to and read."""
    retention, pg = load(Retention), await parts.postgres()
    made, waited_s = await growth.grow(given.partitions, load(KafkaConfig), retention, pg, parts.producer())
    days = retention.held_s // 86_400 + 1
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


def _letter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("list", "show", "redrive", "discard"))
    parser.add_argument("ids", nargs="*", metavar="PARTITION:OFFSET", help="all not yet redriven, if none")
    parser.add_argument("--of", choices=tuple(_DEAD_LETTERS), default="submissions", help="of which topic")


def _grow_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("partitions", type=int, help="how many: more than the log has now")


PROGRAM: Final = Program(
    "rating_svc",
    {"serve": serve, "worker": worker, "relay": relay},
    migrate,
    [
        Command(
            "dlq",
            "List, show, redrive or discard dead letters.",
            dead_letter_command,
            _letter_arguments,
            (dlq.UnknownLetter,),
        ),
        Command(
            "grow",
            "Add partitions to the log of submissions while it is written to and read.",
            grow,
            _grow_arguments,
            (growth.CantGrow, RuntimeError),
        ),
    ],
)

if __name__ == "__main__":
    PROGRAM.main()
