"""Many callers, one connection: Redis commands of one turn of the event loop go out together.

A command of its own costs redis-py ~100 CPU-µs, one of a pipeline a quarter of
that; and Kafka acknowledges writes by the batch, so they come here by the batch.
The connection is kept (`mesh.redis_link`), and one deadline holds for all that
goes out together: redis-py's own pipeline takes a connection from its pool each
time, and sets a timer for each answer.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio as redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from mesh import spans
from mesh.pause import Pause
from mesh.redis_link import Link
from mesh.redisdb import AWAY, has_no_master, is_current

_MAX_COMMANDS: Final = 512


class RedisAway(Exception):
    """Redis is down, slow or loading, or failed a moment ago."""


@dataclass(frozen=True)
class Script:
    """A Lua script: Redis runs it as one step."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", sha)


class Pipe:
    """Sends commands; leaves Redis alone for a while after it failed, so that nobody waits for it again."""

    def __init__(self, client: "redis.Redis", pause_s: float) -> None:
        self._client = client
        self._timeout_s: float | None = client.connection_pool.connection_kwargs.get("socket_timeout")
        self._connection: Any = None
        self._link: Link | None = None
        self._pause = Pause("Redis", pause_s)
        self._queue: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether Redis failed a moment ago."""
        return self._pause.on

    async def call(self, *command: Any) -> Any:
        """Returns the answer to a command.

        Raises:
            RedisAway: there is none.
            RedisError: Redis refused the command.
        """
        with spans.command(command[0]):
            return await self._call(*command)

    async def _call(self, *command: Any) -> Any:
        if self.away:
            raise RedisAway("it failed a moment ago")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((command, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await answer

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Returns a script's answer.

        Raises:
            RedisAway: there is none.
            RedisError: Redis refused the script.
        """
        with spans.command("EVALSHA"):
            try:
                return await self._call("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:  # Redis was restarted, or never saw it
                return await self._call("EVAL", script.source, len(keys), *keys, *args)

    async def _send(self) -> None:
        try:
            while self._queue:
                portion, self._queue = self._queue[:_MAX_COMMANDS], self._queue[_MAX_COMMANDS:]
                await self._exchange(portion)
        finally:
            self._sender = None

    async def _exchange(self, portion: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        commands = [command for command, _ in portion]
        try:
            try:
                answers = await self._answers(commands)
            except RedisConnectionError:
                # The connection was stale, as after a restart. A server that is slow is not asked twice.
                answers = await self._answers(commands)
        except AWAY as error:
            self._pause.begin(error)
            answers = [RedisAway(str(error))] * len(portion)
        for (_, answer), value in zip(portion, answers, strict=True):
            if answer.done():
                continue
            if isinstance(value, RedisError | RedisAway):
                answer.set_exception(value)
            else:
                answer.set_result(value)

    async def _answers(self, commands: "Sequence[tuple[Any, ...]]") -> list[Any]:
        """The answer to each command, or the error; raises one of `AWAY` if the connection is lost."""
        whole = False
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await (await self._connected()).ask(commands)
            if any(
                isinstance(answer, RedisError) and has_no_master(self._client, answer) for answer in answers
            ):
                raise RedisConnectionError("it leads to no master any more")
            whole = True
            return answers
        finally:
            if not whole:
                await self._hang_up()

    async def _connected(self) -> Link:
        """The connection that is kept, to the server that is the master now."""
        if self._connection is not None and not is_current(self._client, self._connection):
            await self._hang_up()
        if self._link is None:
            self._connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            self._link = Link(self._connection)
        return self._link

    async def _hang_up(self) -> None:
        connection, self._connection, self._link = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._client.connection_pool.release(connection)
