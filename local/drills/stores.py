"""Drills of what holds data: a store that is lost, a replica that is late, a query that does not end."""

import asyncio
import signal
from typing import Final

import asyncpg

from local.drills.model import Action, Ground
from mesh import dial
from mesh.kafka import KafkaConfig, KafkaProducer

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


async def send_poison(ground: Ground) -> None:
    """Writes a message into the log of ratings that nobody can read."""
    producer = KafkaProducer(KafkaConfig(bootstrap=ground.stack.kafka_bootstrap))
    try:
        await producer.send(SUBMITTED, POISON_KEY, _POISON)
        ground.keep(sent=True)
    finally:
        await producer.close()
