"""A primary that is lost while its replica is behind, and the replica in its place.

Clients reach the primary through a `Door`, as they do through a proxy or a virtual address.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg

from local.stack import state as states
from local.stack.layout import HOST, Stack
from local.stack.provision import REPLICATOR, SUPERUSER
from tests.support.waiting import eventually

_CHUNK = 65_536


class Door:
    """Passes connections on to a port, and after `lead_to` to another one: those that are open end."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._enter, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def lead_to(self, target: int) -> None:
        self._target = target
        for writer in self._open:
            writer.close()

    def dsn(self, dsn: str) -> str:
        """The same database through this door."""
        parts = urlsplit(dsn)
        return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{self.port}").geturl()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, there[1]}
        both = asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
        with contextlib.suppress(OSError):
            await both
        self._open -= {writer, there[1]}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def door_to_the_primary(stack: Stack) -> AsyncIterator[Door]:
    """A door, until the block ends."""
    door = Door(stack.port("postgres", "sql"))
    server = await door.serve()
    try:
        yield door
    finally:
        door.lead_to(0)
        server.close()


async def cut_off_the_replica(stack: Stack) -> None:
    """Lets the replica have nothing any more of what the primary commits."""
    replica = await asyncpg.connect(stack.dsn(SUPERUSER, "postgres-replica"))
    primary = await asyncpg.connect(stack.dsn(SUPERUSER))
    try:
        await primary.execute(f"ALTER ROLE {REPLICATOR} NOLOGIN")
        lsn = await primary.fetchval("SELECT pg_current_wal_lsn()")

        async def has_all() -> bool:
            return bool(await replica.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", lsn))

        await eventually(has_all)
        await primary.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    finally:
        await asyncio.gather(primary.close(), replica.close())


@contextlib.contextmanager
def without_its_primary(stack: Stack) -> Iterator[None]:
    """Kills the primary, which stays dead; its supervisor is held still, so that nobody starts it again."""
    found = states.live(stack.home)
    assert found is not None
    os.kill(found.pid, signal.SIGSTOP)
    try:
        os.kill(found.processes["postgres"].pid, signal.SIGKILL)
        yield
    finally:
        os.kill(found.pid, signal.SIGCONT)


async def promote_the_replica(stack: Stack) -> None:
    """Makes the replica the primary."""
    replica = await asyncpg.connect(stack.dsn(SUPERUSER, "postgres-replica"))
    try:
        assert await replica.fetchval("SELECT pg_promote(true, 60)")
    finally:
        await replica.close()
