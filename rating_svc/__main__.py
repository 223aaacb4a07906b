"""rating_svc's processes, `python -m rating_svc serve|worker|relay`, and its commands for operators."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from marquee.ratings.v1 import internal_pb2, ratings_pb2

from mesh import channel, kafka, redisdb, services, transactions
from mesh.config import load
from mesh.hedge import HedgedReads
from mesh.kafka import BatchConsumer, KafkaConfig, KafkaProducer
from mesh.kafka.retention import Retention
from mesh.outbox import Relay
from mesh.pages import PagesConfig, PageTokens
from mesh.pipe import Pipe
from mesh.program import Command, Parts, Process, Program
from mesh.pruning import Pruner
from mesh.turns import Turns
from rating_svc import changes, dlq, growth, lives, metrics, reshard, store, topics
from rating_svc.cache import PendingWrites, Settling
from rating_svc.config import (
    WORKERS,
    MovieCheckConfig,
    PendingConfig,
    RelayConfig,
    WorkerConfig,
    worker_group,
)
from rating_svc.movies import Movies
from rating_svc.preparing import connect_shards, open_shards, prepare, register
from rating_svc.registry import Life, Registry, family
from rating_svc.service import RatingService
from rating_svc.settled import Settled
from rating_svc.shards import Shards, configs, of_shard
from rating_svc.slots import Conflict
from rating_svc.store import RatingStore
from rating_svc.submission_log import SubmissionLog
from rating_svc.submissions import Position
from rating_svc.totals import RatingTotalsService
from rating_svc.waiting import LettersWatch
from rating_svc.worker import SubmissionHandler, make_reader
from rating_svc.writer import Writer


async def serve(process: Process) -> None:
    """Takes ratings and shows users their own."""
    metrics.SERVE.export()
    metrics.PENDING.export()
    pending_config, movies_config = load(PendingConfig), load(MovieCheckConfig)
    tokens = PageTokens(load(PagesConfig).key)
    shards = await open_shards(process)
    registry = await register(shards)
    redis = process.redis()
    submissions = SubmissionLog(process.producer(), shards, registry)
    settled = [Settled(pg, registry, load(WorkerConfig).settle_s) for pg in shards.databases]

    def has(user: str, position: Position) -> bool:
        shard = shards.find(user)
        return shard is not None and settled[shard].has(user, position)

    pending = PendingWrites(Pipe(redis, pending_config.redis_pause_s), pending_config, has)
    movie_svc = None
    if movies_config.target:
        once = channel.ChannelConfig(timeout_s=movies_config.timeout_s, attempts=1)
        movie_svc = process.peer(movies_config.target, once, "movie_svc")
    ratings = [RatingStore(pg, HedgedReads(pg, metrics.HEDGED)) for pg in shards.databases]
    server = process.server
    server.add(
        ratings_pb2.DESCRIPTOR.services_by_name["RatingService"],
        RatingService(
            Writer(submissions, pending),
            lambda user: ratings[shards.of(user)],
            pending,
            Movies(movie_svc, movies_config),
            tokens,
        ),
    )
    totals = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
    server.add(totals, RatingTotalsService(shards), callers=services.callers(totals.full_name))
    server.health.depends_on("kafka", submissions.ping)
    for number, pg in shards:
        # Of several, one that is away from the start keeps nobody from the others.
        server.health.depends_on(of_shard("postgres", number), pg.ping_any, optional=shards.several)
        server.background(of_shard("how far it is stored", number), settled[number].follow)
    server.health.depends_on("redis", redisdb.probe(redis), optional=True)
    server.background("lives of the log", submissions.follow)
    # Here too: memory must stay bounded where no worker runs.
    server.background("stale pending writes", pending.expire)
    await server.run()


async def worker(process: Process) -> None:
    """Brings the log into the database, or each database's part of it there."""
    metrics.WORKER.export()
    metrics.PENDING.export()
    config, kafka_config = load(WorkerConfig), load(KafkaConfig)
    pending_config = load(PendingConfig)
    shards = await open_shards(process)
    registry = await register(shards)
    producer = process.producer()
    pending = PendingWrites(Pipe(process.redis(), pending_config.redis_pause_s), pending_config)
    settling = Settling(pending, config.settle_s)
    server = process.server
    for number, _ in shards:
        await _work(process, shards, number, registry.lives, producer, settling)
    server.health.depends_on("kafka", producer.ping)
    server.background("replicas of the log", kafka.Replicas(kafka_config).run)
    server.background("letters", LettersWatch(kafka_config, list(_DEAD_LETTERS.values())).run)
    server.background("settling", settling.run)
    server.background("stale pending writes", pending.expire)
    await server.run()


async def _work(
    process: Process,
    shards: Shards,
    number: int,
    known: Sequence[Life],
    producer: KafkaProducer,
    settling: Settling,
) -> None:
    """Adds what brings one database's part of the log there: it waits for no other database."""
    config, kafka_config, retention = load(WorkerConfig), load(KafkaConfig), load(Retention)
    pg, server = shards.databases[number], process.server

    def consumer() -> BatchConsumer:
        return BatchConsumer(kafka_config, worker_group(number), [family(topics.SUBMITTED)])

    registry = Registry(known)
    handler = SubmissionHandler(registry, settling, retention, WORKERS, shards, number)
    reader = make_reader(consumer, kafka_config, producer, pg, handler, config)
    pruner = Pruner(pg, store.aged(retention), metrics.PRUNED, config.prune_interval_s)
    server.health.depends_on(of_shard("worker", number), reader.ping, required=True)
    server.health.depends_on(of_shard("postgres", number), pg.ping, optional=shards.several)
    server.background(of_shard("worker", number), reader.run)
    server.background(of_shard("backlog", number), kafka.Backlog(kafka_config, pg, WORKERS).run)
    server.background(of_shard("transactions", number), lambda: transactions.watch(pg))
    server.background(of_shard("pruner", number), pruner.run)


async def relay(process: Process) -> None:
    """Hands changes on, those of each database by itself."""
    metrics.RELAY.export()
    config = load(RelayConfig)
    shards = await open_shards(process)
    producer = process.producer()
    server = process.server
    server.health.depends_on("kafka", producer.ping)
    for (number, pg), pg_config in zip(shards, configs(), strict=True):
        sender = Relay(
            changes.outbox(),
            Turns(pg_config, silence_s=config.takeover_s),
            lambda: contextlib.nullcontext(producer),
            changes.meters(number),
            config.batch,
            config.poll_s,
        )
        server.health.depends_on(of_shard("postgres", number), pg.ping, optional=shards.several)
        server.background(of_shard("outbox", number), changes.watch(pg, number).run)
        server.background(of_shard("relay", number), sender.run)
    await server.run()


async def migrate() -> None:
    """All that roles do of it when they start."""
    await prepare()
    async with AsyncExitStack() as stack:
        await register(await connect_shards(Parts(stack)))


async def dead_letter_command(given: argparse.Namespace, parts: Parts) -> None:
    """Lists, shows, redrives or discards dead letters."""
    config, topic, ids = load(KafkaConfig), _DEAD_LETTERS[given.of], given.ids
    if given.verb == "redrive":
        producer = parts.producer()
        registry = Registry(await lives.known(await connect_shards(parts)))
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
    retention, shards = load(Retention), await connect_shards(parts)
    if given.partitions % shards.division.total:
        raise growth.CantGrow(
            f"users are divided into {shards.division.total} slots: give a multiple of that"
        )
    made, waited_s = await growth.grow(
        given.partitions, load(KafkaConfig), retention, shards.first, parts.producer()
    )
    days = retention.held_s // 86_400 + 1
    print(
        f"submissions go to {made.topic} now, {made.partitions} partitions, epoch {made.epoch}; writes "
        f"waited for {waited_s:.1f} s. Delete the topic before it after {days} days"
    )


async def reshard_command(given: argparse.Namespace, parts: Parts) -> None:
    """Spreads users evenly over all databases that are configured."""
    await prepare()
    shards = await connect_shards(parts)
    await register(shards)
    if given.over and given.over > len(shards.databases):
        raise reshard.CantReshard(f"there are {len(shards.databases)} databases: MARQUEE_RATING_SHARDS")
    await reshard.reshard(shards, configs(), load(KafkaConfig), print, over=given.over, only_plan=given.plan)


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


def _reshard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--over", type=int, default=0, metavar="N", help="only the first N; the others are emptied"
    )
    parser.add_argument("--plan", action="store_true", help="only say which slots would move")


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
        Command(
            "reshard",
            "Spread users over all databases while ratings are written and read.",
            reshard_command,
            _reshard_arguments,
            (reshard.CantReshard, Conflict, RuntimeError),
        ),
    ],
)

if __name__ == "__main__":
    PROGRAM.main()
