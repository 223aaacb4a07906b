"""A small HTTP/1.1 client for many kept-alive connections to one server on this machine.

It exists because it is cheap: some 60 µs of CPU a request, where aiohttp takes over
300. What the client takes, on a machine that it shares with the mesh, is
missing from every figure that it measures. RFC 9112: status line, headers,
bodies by Content-Length or in chunks; no redirects, no compression, no TLS.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, cast

_TIMEOUT_S: Final = 10.0


class BrokenResponse(ConnectionError):
    """The connection ended, or what came is not HTTP, before the answer was whole."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> str:
        """A header's value; empty if it is not there. `name` is in lower case."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip().decode("latin-1")
        return ""


class Client:
    """Connections to one server, opened when needed and kept."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def request(self, method: str, path: str, headers: str = "", body: bytes = b"") -> Response:
        """Sends a request, and returns its answer. `headers` are whole lines, each with its CR LF.

        Raises:
            ConnectionError: the server is away, or broke the connection off.
            TimeoutError: there was no answer within 10 seconds.
        """
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{length}{headers}\r\n"
        connection = await self._connection()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await connection.exchange(head.encode("latin-1") + body)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_TIMEOUT_S):
            return (await loop.create_connection(_Connection, self._host, self._port))[1]


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[Response] | None = None
        self.usable = True

    async def exchange(self, request: bytes) -> Response:
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        self.usable = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclasses of it.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(BrokenResponse(f"the connection broke off: {exc or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        try:
            body = _body(head, self._buffer[end + 4 :])
        except ValueError as error:
            self._transport.abort()
            self._finish(BrokenResponse(f"the answer is not HTTP/1.1: {error}"))
            return
        if body is None:
            return
        self._buffer = b""
        if b"\r\nconnection: close" in head.lower():
            self.close()
        self._finish(Response(int(head[9:12]), head, body))

    def _finish(self, result: "Response | BrokenResponse") -> None:
        if self._waiting is None or self._waiting.done():
            return
        if isinstance(result, Response):
            self._waiting.set_result(result)
        else:
            self._waiting.set_exception(result)


def _body(head: bytes, rest: bytes) -> bytes | None:
    """The body, or None while it is not whole.

    Raises:
        ValueError: the headers or chunks are malformed.
    """
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(lowered[at + 17 :].split(b"\r\n", 1)[0])
        return rest[:length] if len(rest) >= length else None
    if b"\r\ntransfer-encoding: chunked" not in lowered:
        return b""
    parts: list[bytes] = []
    while True:
        size, found, rest = rest.partition(b"\r\n")
        if not found:
            return None
        length = int(size.split(b";", 1)[0], 16)
        if len(rest) < length + 2:
            return None
        if length == 0:
            return b"".join(parts)
        parts.append(rest[:length])
        rest = rest[length + 2 :]
