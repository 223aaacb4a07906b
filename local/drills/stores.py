"""Drills of what holds data: a store that is lost, a replica that is late, a query that does not end."""

import asyncio
import signal
from typing import Final

import asyncpg

from local.drills import traffic
from local.drills.model import Action, Ground
from local.servers import probes
from mesh import dial, redisdb
from mesh.kafka import KafkaConfig, KafkaProducer
from mesh.redisdb import RedisConfig

TITLES: Final = "movie:m:"
"""Before a title's number: what movie_svc keeps of it in Redis, and can make again."""

SUBMITTED: Final = "marquee.ratings.submitted.v1"
"""The log of ratings, as rating_svc names it."""
POISON_KEY: Final = b"marquee-drill"
"""By it, the drill's own letters are known among others."""
_SESSION: Final = "marquee-drill"
_SLOW: Final = "SELECT pg_sleep(3600)"
_END: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'marquee-drill' AND pid <> pg_backend_pid()"""
_POISON: Final = b"a drill of marquee: no rating at all"
_REDIS_S: Final = 5.0
# Until every process has heard from Redis that a title has gone.
_HEARD_S: Final = 0.05


def lost(process: str) -> tuple[Action, Action]:
    """Holds a store still: connections stay open, and nothing comes. So is one lost whose machine hangs.

    Its supervisor starts one again that has ended, within a second: nobody would have to do anything.
    """

    async def begin(ground: Ground) -> None:
        ground.signal(process, signal.SIGSTOP)

    async def mend(ground: Ground) -> None:
        ground.signal(process, signal.SIGCONT)

    return begin, mend


async def hold_replay(ground: Ground) -> None:
    """Lets the replica receive what the primary writes, and not apply it."""
    await ground.sql("postgres-replica", "SELECT pg_wal_replay_pause()::text")


async def go_on_replaying(ground: Ground) -> None:
    await ground.sql("postgres-replica", "SELECT pg_wal_replay_resume()::text")


async def write_on(ground: Ground) -> None:
    """Writes something into the primary's log again and again: of what nobody writes, nothing is late."""
    while True:
        await ground.sql("postgres", f"SELECT pg_logical_emit_message(false, '{_SESSION}', '')::text")
        await asyncio.sleep(0.5)


async def query_slowly(ground: Ground) -> None:
    """Holds a transaction of movie_svc's role open, in a query that does not end by itself."""
    dsn = ground.stack.dsn("movie_svc")
    settings = {"application_name": _SESSION, "statement_timeout": "0"}
    connection = await dial.connect(dsn, server_settings=settings)
    try:
        async with connection.transaction():
            await connection.fetchval(_SLOW)
    except asyncpg.AdminShutdownError:
        return  # somebody has followed the runbook
    finally:
        connection.terminate()


async def end_slow_query(ground: Ground) -> None:
    await ground.sql("postgres", _END)


async def forget_titles(ground: Ground) -> None:
    """Deletes each title from Redis just before many ask for it at once; movie_svc forgets it then."""
    config = RedisConfig(url=probes.redis_url(ground.stack, "redis"), timeout_s=_REDIS_S)
    async with redisdb.connect(config) as client:

        async def forget(imdb_id: str) -> None:
            await client.unlink(f"{TITLES}{int(imdb_id.removeprefix('tt'))}")
            await asyncio.sleep(_HEARD_S)

        await traffic.crowds(ground, forget)


async def send_poison(ground: Ground) -> None:
    """Writes a message into the log of ratings that nobody can read."""
    producer = KafkaProducer(KafkaConfig(bootstrap=ground.stack.kafka_bootstrap))
    try:
        await producer.send(SUBMITTED, POISON_KEY, _POISON)
        ground.keep(sent=True)
    finally:
        await producer.close()
