"""Bytes to and from an edge, as no client library would send or read them."""

import asyncio

from tests.support.edge.mesh import Edge


async def raw_exchange(edge: Edge, request: bytes) -> tuple[int, bytes]:
    """Sends bytes and reads until the edge closes; the status is 0 if it said nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    writer.write(request)
    received = b""
    try:
        async with asyncio.timeout(60):
            while not received.endswith((b"}\n", b"}")):
                piece = await reader.read(65536)
                if not piece:
                    break
                received += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    if not received:
        return 0, b""
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


async def raw(edge: Edge, request: str) -> bytes:
    """All that the edge sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.edge_port)
    writer.write(request.encode())
    received = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return received
