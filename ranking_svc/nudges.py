"""Nudges: the consumer says by Redis that aggregates have changed, so that servers need not wait to ask.

Nothing depends on one arriving: without Redis, servers ask at their interval.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import redis.asyncio as redis

from mesh import tracing
from mesh.redisdb import AWAY
from ranking_svc import metrics

log = logging.getLogger(__name__)

CHANNEL: Final = "ranking:changed"
_WAIT_S: Final = 5.0
_PATIENCE_S: Final = 2.0
_BACKOFF_S: Final = 1.0


class Nudges:
    """Both ends of the channel."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    async def send(self) -> None:
        """Nudges all servers; does nothing while Redis is away."""
        try:
            await self._redis.publish(CHANNEL, tracing.traceparent())
        except AWAY as error:
            log.debug("no nudge: %s", error)

    async def listen(self, nudged: Callable[[str], None]) -> None:
        """Calls `nudged` at every nudge, forever, and once whenever Redis has come back.

        It is told the `traceparent` of what has changed, if that was sampled.
        """
        away = False
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    log.log(logging.INFO if away else logging.DEBUG, "listening on %s", CHANNEL)
                    away = False
                    nudged("")
                    while True:
                        if (trace := await _next(channel)) is not None:
                            metrics.NUDGES.inc()
                            nudged(trace)
            except AWAY as error:
                if not away:
                    log.warning("no nudges, Redis is away: %s: %s", type(error).__name__, error)
                away = True
                await asyncio.sleep(_BACKOFF_S)


async def _next(channel: "redis.client.PubSub") -> str | None:
    """What a nudge says, if one came; where none does, asks for a sign of life: a dead peer is silent too.

    Raises:
        TimeoutError: there was none.
    """
    message = await channel.get_message(timeout=_WAIT_S)
    if message is None:
        await channel.ping()
        message = await channel.get_message(timeout=_PATIENCE_S)
        if message is None:
            raise TimeoutError(f"silent for {_WAIT_S + _PATIENCE_S:g} s")
    if message["type"] != "message":
        return None
    data = message["data"]
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data)
