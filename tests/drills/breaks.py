"""What a test breaks of a running mesh for a block, beside what drills break."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import asyncpg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from local.servers import probes
from local.stack import authority
from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import dial, redisdb
from mesh.kafka import KafkaConfig, KafkaProducer
from mesh.redisdb import RedisConfig
from rating_svc import topics
from tests.drills.people import MOVIE, asking, rate, statuses
from tests.support.command import marquee
from tests.support.parts import hung, pid_of, unattended
from tests.support.repeating import repeatedly
from tests.support.switches import off
from tests.support.waiting import eventually

Break = Callable[[Stack], contextlib.AbstractAsyncContextManager[None]]
WORKER = "rating_svc-worker"
# What a worker accepts of dead letters in a minute by its defaults is 100.
LETTERS = 60


def nearly_over(name: str) -> Break:
    """A certificate that ends in three days."""

    @contextlib.asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        await asyncio.to_thread(authority.issue, stack.home.certificates, name, 3)
        try:
            yield
        finally:
            await asyncio.to_thread(authority.issue, stack.home.certificates, name)

    return broken


@contextlib.asynccontextmanager
async def redis_full(stack: Stack) -> AsyncIterator[None]:
    """All but a little of its memory is used, by what has no expiry."""
    config = RedisConfig(url=probes.redis_url(stack, "redis"), timeout_s=10)
    async with redisdb.connect(config) as client:
        memory = await client.info("memory")
        size = 1024 * 1024
        count = int(0.95 * memory["maxmemory"] - memory["used_memory"]) // size
        keys = [f"test:{number}" for number in range(count)]
        for key in keys:
            await client.set(key, bytes(size))
        try:
            yield
        finally:
            await client.unlink(*keys)


@contextlib.asynccontextmanager
async def counted_wrong(stack: Stack) -> AsyncIterator[None]:
    """Ratings that ranking_svc has lost."""
    await rate(stack)
    async with database(stack) as connection:
        found = "SELECT count(*) FROM ranking_svc.scores WHERE movie = $1"
        await eventually(lambda: connection.fetchval(found, int(MOVIE[2:])), 30, 0.2, what="a counted rating")
        await connection.execute("UPDATE ranking_svc.scores SET h1 = h1 + 1")
    await asyncio.to_thread(marquee, stack.home, "verify", code=1)
    try:
        yield
    finally:
        await asyncio.to_thread(marquee, stack.home, "verify", "--repair")


def locked(*tables: str, mode: str = "ACCESS EXCLUSIVE") -> Break:
    """A transaction that somebody has left open keeps all others from these tables."""

    @contextlib.asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        async with database(stack) as connection:
            locking = connection.transaction()
            await locking.start()
            try:
                await connection.execute(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE")
                yield
            finally:
                await locking.rollback()

    return broken


@contextlib.asynccontextmanager
async def nothing_is_stored(stack: Stack) -> AsyncIterator[None]:
    """A lock keeps the workers from storing what users submit."""
    async with locked("rating_svc.ratings", mode="EXCLUSIVE")(stack):
        await rate(stack)
        yield


@contextlib.asynccontextmanager
async def not_verified(stack: Stack) -> AsyncIterator[None]:
    """Nobody has compared aggregates with a recount for over a week."""
    async with database(stack) as connection:
        await connection.execute(
            "UPDATE ranking_svc.verification SET finished_at = now() - interval '9 days'"
        )
    try:
        yield
    finally:
        await asyncio.to_thread(marquee, stack.home, "verify")


@contextlib.asynccontextmanager
async def not_rebuilt(stack: Stack) -> AsyncIterator[None]:
    """A session that nobody knows of holds the lock under which the formula's mean is measured."""
    async with database(stack) as connection:
        await connection.execute("SELECT pg_advisory_lock(hashtext('rebuild'))")
        await connection.execute("UPDATE ranking_svc.formula SET built_at = now() - interval '4 hours'")
        yield


@contextlib.asynccontextmanager
async def turn_taken(stack: Stack) -> AsyncIterator[None]:
    """A session that nobody knows of holds the turn of rating_svc's relay, while a rating waits."""
    turn = "SELECT pg_advisory_lock(hashtext('rating_svc relay'))"
    async with database(stack) as connection, database(stack) as other:
        waiting = asyncio.create_task(connection.execute(turn))
        own = connection.get_server_pid()

        async def has_it() -> bool:
            ends = "SELECT pg_terminate_backend(pid) FROM unnest(pg_blocking_pids($1)) AS pid"
            await other.execute(ends, own)
            return waiting.done()

        await eventually(has_it, 30, 0.2, what="the relay's turn")
        await waiting
        await rate(stack)
        yield


@contextlib.asynccontextmanager
async def forbidden(stack: Stack) -> AsyncIterator[None]:
    """A grant is missing, as after a migration that went wrong, and users ask for what needs it."""
    granted = {"movie_svc": ("movies", "outbox"), "rating_svc": ("ratings",)}
    paths = ("/v1/movies?genre=Drama&pageSize=5", f"/v1/users/me/ratings/{MOVIE}")
    async with database(stack) as connection:
        try:
            for role, tables in granted.items():
                for table in tables:
                    await connection.execute(f"REVOKE SELECT ON {role}.{table} FROM {role}")
            async with asking(stack, *paths, pause_s=1.0):
                yield
        finally:
            for role, tables in granted.items():
                for table in tables:
                    await connection.execute(f"GRANT SELECT ON {role}.{table} TO {role}")


@contextlib.asynccontextmanager
async def locked_out(stack: Stack) -> AsyncIterator[None]:
    """PostgreSQL lets movie_svc in no more, as after a password was changed in one place alone."""
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'movie_svc'"
    async with database(stack) as primary, database(stack, "postgres-replica") as replica:
        await primary.execute("ALTER ROLE movie_svc NOLOGIN")
        try:
            known = "SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = 'movie_svc'"
            await eventually(lambda: replica.fetchval(known), 30, 0.2, what="the replica's word")
            for server in (primary, replica):
                await server.execute(ends)
            # With sessions that were ended, and then with none: neither is an error of our own.
            assert await statuses(stack, "/v1/movies?genre=Drama&pageSize=5", 10) == {503}
            yield
        finally:
            await primary.execute("ALTER ROLE movie_svc LOGIN")


@contextlib.asynccontextmanager
async def stalling(stack: Stack) -> AsyncIterator[None]:
    """ranking_svc stands still for 0.6 s of each second, as on a machine that has too much to do."""

    async def stall() -> None:
        with hung(pid_of(stack, "ranking_svc")):
            await asyncio.sleep(0.6)

    async with (
        repeatedly(stall, pause_s=0.4),
        asking(stack, "/v1/charts/top-rated?pageSize=1", at_once=20, pause_s=0.3),
    ):
        yield


@contextlib.asynccontextmanager
async def no_trending(stack: Stack) -> AsyncIterator[None]:
    """An operator has switched a chart off that users ask for."""
    async with off(stack, "trending"), asking(stack, "/v1/charts/trending?pageSize=1", pause_s=1.0):
        yield


@contextlib.asynccontextmanager
async def all_at_once(stack: Stack) -> AsyncIterator[None]:
    """Errors, stalls, and a chart that is switched off."""
    async with forbidden(stack), stalling(stack), no_trending(stack):
        yield


@contextlib.asynccontextmanager
async def unreadable(stack: Stack) -> AsyncIterator[None]:
    """More messages within a minute that nobody can read than a worker sets aside."""

    async def send() -> None:
        producer = KafkaProducer(KafkaConfig(bootstrap=stack.kafka_bootstrap))
        try:
            await asyncio.gather(*(producer.send(topics.SUBMITTED, b"key", b"?") for _ in range(LETTERS)))
        finally:
            await producer.close()

    async def listed() -> list[str]:
        lines = (await asyncio.to_thread(marquee, stack.home, "dlq", "list")).splitlines()
        return [line.split()[0] for line in lines if line[:1].isdigit()]

    async def are_there(count: int) -> bool:
        return len(await listed()) == count

    async def accepts_more() -> bool:
        """By the database's clock, a minute has passed since the first ones."""
        async with database(stack) as connection:
            return not await connection.fetchval(
                "SELECT count(*) FROM rating_svc.dead_letters WHERE buried_at > now() - interval '1 min'"
            )

    await send()
    await eventually(lambda: are_there(LETTERS), 60, 0.5, what="letters")
    await send()
    try:
        yield
    finally:
        await eventually(accepts_more, 90, 0.5)
        await asyncio.to_thread(marquee, stack.home, "restart", WORKER)
        await eventually(lambda: are_there(2 * LETTERS), 60, 0.5, what="the other letters")
        await asyncio.to_thread(marquee, stack.home, "dlq", "discard", *await listed())


@contextlib.asynccontextmanager
async def expired(stack: Stack) -> AsyncIterator[None]:
    """Kafka deletes a rating that no worker has read; the alert stands until the worker's next life."""
    admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})
    with unattended(stack):
        os.kill(pid_of(stack, WORKER), signal.SIGKILL)
        await rate(stack)
        found = (await asyncio.to_thread(admin.list_topics, topics.SUBMITTED, 10)).topics[topics.SUBMITTED]
        # -1: all that there is.
        ends = [TopicPartition(topics.SUBMITTED, number, -1) for number in found.partitions]
        for deleted in admin.delete_records(ends).values():
            await asyncio.to_thread(deleted.result, 10)
    try:
        yield
    finally:
        await asyncio.to_thread(marquee, stack.home, "restart", WORKER)


@contextlib.asynccontextmanager
async def database(
    stack: Stack, server: str = "postgres"
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A session of PostgreSQL's superuser, whose locks nothing ends."""
    connection = await dial.connect(stack.dsn(SUPERUSER, server))
    try:
        yield connection
    finally:
        await connection.close()
