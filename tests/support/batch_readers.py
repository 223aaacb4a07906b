"""Readers of a log that a test waits for."""

from typing import Any

from mesh.kafka import BatchReader
from tests.support.waiting import eventually


async def stopped(reader: BatchReader[Any, Any], why: str) -> None:
    """Waits until the reader has stopped, and its health says `why`."""

    async def says_why() -> bool:
        try:
            await reader.ping()
        except RuntimeError as error:
            return why in str(error)
        return False

    await eventually(says_why)
