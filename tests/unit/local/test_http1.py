"""The load client reads what servers send, however it arrives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from local.commands.http1 import BrokenResponse, Client

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Client]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client("127.0.0.1", server.sockets[0].getsockname()[1])
        try:
            yield client
        finally:
            client.close()


def answering(*parts: bytes, close: bool = False) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                break
        writer.close()

    return serve


async def test_a_body_of_known_length_in_pieces() -> None:
    pieces = [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\nX-A: b\r\n\r\nhe", b"llo"]
    async with serving(answering(*pieces)) as client:
        answer = await client.request("GET", "/")
    assert (answer.status, answer.body, answer.header(b"x-a")) == (200, b"hello", "b")


async def test_a_chunked_body() -> None:
    pieces = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"2\r\nde\r\n",
        b"0\r\n\r\n",
    ]
    async with serving(answering(*pieces)) as client:
        assert (await client.request("GET", "/")).body == b"abcde"


async def test_a_connection_is_used_again() -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await answering(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")(reader, writer)

    async with serving(serve) as client:
        for _ in range(5):
            assert (await client.request("GET", "/")).status == 204
    assert opened == 1


async def test_a_connection_that_the_server_closed_is_replaced() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    async with serving(answering(answer, close=True)) as client:
        for _ in range(3):
            assert (await client.request("GET", "/")).body == b"ok"


async def test_half_an_answer_is_an_error_not_a_short_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"
    async with serving(answering(answer, close=True)) as client:
        with pytest.raises(BrokenResponse, match="broke off"):
            await client.request("GET", "/")


async def test_a_body_that_is_not_http_is_an_error() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"
    async with serving(answering(answer)) as client:
        with pytest.raises(BrokenResponse, match=r"not HTTP/1\.1"):
            await client.request("GET", "/")
