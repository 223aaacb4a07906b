"""One process at a time: a turn that its holder loses when it is frozen or cut off.

The turn is an advisory lock of a session of its own. The server ends that
session after `silence_s` without a statement, and at once where the connection
breaks; so a successor has the turn after `silence_s` and its own next look.

The one who lost it may not know yet. What it does outside this session must be
fenced by what it writes to: rows by the order in which sources were asked,
Kafka by its epoch of the producer (`mesh.kafka.fenced`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from mesh import dial
from mesh.postgres import GONE, PostgresConfig, away

SILENCE_S: Final = 8.0

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection


class Held:
    """A turn that this process has, as far as it knows."""

    def __init__(self, session: Session, silence_s: float) -> None:
        self._session = session
        self._silence_s = silence_s

    async def confirm(self) -> None:
        """Shows that the holder lives.

        Raises:
            MarqueeError: the turn is lost.
        """
        try:
            await self._session.execute("SELECT 1")
        except GONE as error:
            raise away(error) from error

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Rows, by the turn's own session: a sign of life, and an error if the turn is lost.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE`: the turn is lost, or it took too long.
        """
        try:
            return await self._session.fetch(query, *args)
        except GONE as error:
            raise away(error) from error

    async def execute(self, query: str, *args: Any) -> None:
        """Runs a statement in the same way; raises like `fetch`."""
        await self.fetch(query, *args)

    async def listen(self, channel: str) -> asyncio.Event:
        """What is set whenever NOTIFY comes on a channel while the turn lasts. Raises like `fetch`."""
        woken = asyncio.Event()
        try:
            await self._session.add_listener(channel, lambda *_: woken.set())
        except GONE as error:
            raise away(error) from error
        return woken

    async def rest(self, seconds: float, until: asyncio.Event | None = None) -> None:
        """Sleeps, and keeps the turn meanwhile; `until` that is set. Raises like `confirm`."""
        while seconds > 0:
            pause = min(seconds, self._silence_s / 4)
            if until is None:
                await asyncio.sleep(pause)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await until.wait()
                    return
            await self.confirm()
            seconds -= pause


class Turns:
    """Turns at tasks of one service, by the tasks' names."""

    def __init__(self, config: PostgresConfig, silence_s: float = SILENCE_S) -> None:
        self._config = config
        self._silence_s = silence_s

    @contextlib.asynccontextmanager
    async def take(self, task: str) -> AsyncIterator[Held | None]:
        """The turn at a task, for as long as the block lasts; None if another has it.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE` if the primary is away.
        """
        session = await self._connect()
        try:
            yield await self._try(session, task)
        finally:
            # However it ends, the lock ends with the session.
            with contextlib.suppress(*GONE):
                await session.close(timeout=1)

    async def _try(self, session: Session, task: str) -> Held | None:
        try:
            await session.execute(
                "SELECT set_config('idle_session_timeout', $1, false)", f"{self._silence_s:g}s"
            )
            mine = await session.fetchval(
                "SELECT pg_try_advisory_lock(hashtext(current_user || ' ' || $1))", task
            )
        except GONE as error:
            raise away(error) from error
        return Held(session, self._silence_s) if mine else None

    async def _connect(self) -> Session:
        try:
            return await dial.connect(
                self._config.own_session,
                timeout=self._config.timeout_s,
                command_timeout=self._config.timeout_s,
            )
        except GONE as error:
            raise away(error) from error
