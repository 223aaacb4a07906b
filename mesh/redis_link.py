"""One connection to Redis for many commands at once: their bytes go out together, C alone reads the answers.

redis-py connects, logs in and finds the master. After that it would run three coroutines for each answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

_MORE: Final = object()
"""What hiredis returns while an answer is not whole."""


class Link(asyncio.Protocol):
    """Takes a connection over, for as long as that lives. For one exchange at a time."""

    def __init__(self, connection: Any) -> None:
        # redis-py does not hand these over otherwise.
        self._transport: asyncio.Transport = connection._writer.transport
        self._before = self._transport.get_protocol()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=connection._parser.parse_error, notEnoughData=_MORE
        )
        self._answers: list[Any] = []
        self._expected = 0
        self._answered: asyncio.Future[list[Any]] | None = None
        self._transport.set_protocol(self)

    async def ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answer to each command; an error in place of the answer to one that is refused.

        Raises:
            RedisConnectionError: the connection is lost.
            InvalidResponse: what comes is not Redis' protocol.
        """
        if self._transport.is_closing():
            raise RedisConnectionError("the connection is closed")
        self._answers, self._expected = [], len(commands)
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(b"".join(map(hiredis.pack_command, commands)))
        return await self._answered

    def data_received(self, data: bytes) -> None:
        answered = self._answered
        if answered is None or answered.done():
            return
        try:
            self._reader.feed(data)
            while (value := self._reader.gets()) is not _MORE:
                if not isinstance(value, hiredis.PushNotification):
                    self._answers.append(value)
        except InvalidResponse as error:
            answered.set_exception(error)
            return
        if len(self._answers) >= self._expected:
            answered.set_result(self._answers)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(RedisConnectionError(f"the connection is lost: {error}"))
        # Who closes it waits for redis-py's own.
        self._before.connection_lost(error)
