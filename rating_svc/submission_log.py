"""The log of submissions, as those see it who write to it."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from mesh.errors import MarqueeError, unavailable
from mesh.kafka import KafkaProducer, Place
from mesh.single_flight import SingleFlight
from rating_svc import lives, submissions
from rating_svc.growth import refused
from rating_svc.registry import Life, Registry
from rating_svc.submissions import Position, Submission

log = logging.getLogger(__name__)

_REFRESH_S: Final = 2.0
_LOOK_S: Final = 0.1
_NEXT_S: Final = 5.0


class SubmissionLog:
    """Appends submissions to the newest topic of the log."""

    def __init__(self, producer: KafkaProducer, databases: lives.Rows, registry: Registry) -> None:
        self._producer = producer
        self._databases = databases
        self._registry = registry
        self._looks: SingleFlight[None] = SingleFlight()

    async def append(self, submission: Submission, headers: Mapping[str, str]) -> Position:
        """Appends a submission; returns its place in the order.

        Raises:
            MarqueeError: RESOURCE_EXHAUSTED `OVERLOADED`, UNAVAILABLE `QUEUE_UNAVAILABLE`.
        """
        value = submissions.encode(submission)
        position = await self._send(submission.user, value, headers)
        if position.offset < 0:
            # Written, but nobody says where. Its second copy has a place, and the worker drops that one.
            position = await self._send(submission.user, value, headers)
        if position.offset < 0:
            raise _unplaced()
        return position

    async def append_all(
        self, user: str, wanted: Sequence[Submission], headers: Mapping[str, str]
    ) -> list[Position | MarqueeError]:
        """Appends submissions of one user in their order; returns of each what `append` returns or raises."""
        if not wanted:
            return []
        values = submissions.encode_all(wanted)
        places = await self._send_all(user, values, headers)
        lost = [i for i, place in enumerate(places) if isinstance(place, Position) and place.offset < 0]
        if lost:
            # As in `append`.
            second = await self._send_all(user, [values[i] for i in lost], headers)
            for i, place in zip(lost, second, strict=True):
                unplaced = isinstance(place, Position) and place.offset < 0
                places[i] = _unplaced() if unplaced else place
        return places

    async def _send_all(
        self, user: str, values: Sequence[bytes], headers: Mapping[str, str]
    ) -> list[Position | MarqueeError]:
        try:
            life = self._registry.newest()
        except MarqueeError as error:
            return [error] * len(values)
        places = await self._send_all_to(life, user, values, headers)
        closed = [i for i, place in enumerate(places) if isinstance(place, MarqueeError) and refused(place)]
        if closed:
            why = places[closed[0]]
            assert isinstance(why, MarqueeError)
            with contextlib.suppress(MarqueeError):
                newest = await self._after(life, why)
                again = await self._send_all_to(newest, user, [values[i] for i in closed], headers)
                for i, place in zip(closed, again, strict=True):
                    places[i] = place
        return places

    async def _send_all_to(
        self, life: Life, user: str, values: Sequence[bytes], headers: Mapping[str, str]
    ) -> list[Position | MarqueeError]:
        partition = life.partition_of(user)
        sent = await self._producer.send_in_order(life.topic, user.encode(), values, headers, partition)
        epoch = self._registry.epoch(Place(life.topic_id, partition))
        return [end if isinstance(end, MarqueeError) else Position(epoch, end) for end in sent]

    async def _send(self, user: str, value: bytes, headers: Mapping[str, str]) -> Position:
        life = self._registry.newest()
        try:
            return await self._send_to(life, user, value, headers)
        except MarqueeError as error:
            if not refused(error):
                raise
            return await self._send_to(await self._after(life, error), user, value, headers)

    async def _send_to(self, life: Life, user: str, value: bytes, headers: Mapping[str, str]) -> Position:
        # Not of the number that the topic has now: users must not move should it be altered.
        partition = life.partition_of(user)
        sent = await self._producer.send(life.topic, user.encode(), value, headers, partition=partition)
        return Position(self._registry.epoch(Place(life.topic_id, partition)), sent.offset)

    async def _after(self, life: Life, error: MarqueeError) -> Life:
        """Waits for the topic that comes after one that is closed."""
        try:
            async with asyncio.timeout(_NEXT_S):
                while (newest := self._registry.newest()).epoch == life.epoch:
                    await self._refresh_once()
        except TimeoutError:
            raise error from None
        return newest

    async def _refresh_once(self) -> None:
        """All who wait for it share one look."""
        await asyncio.shield(self._looks.start("lives", self._look))

    async def _look(self) -> None:
        await asyncio.sleep(_LOOK_S)
        with contextlib.suppress(MarqueeError):
            self._registry.update(await lives.known(self._databases, fresh=True))

    async def follow(self) -> None:
        """Learns of new lives, forever. While the database is away, the last known ones count."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await self.refresh()
            except MarqueeError as error:
                log.debug("the log's lives are not known now: %s", error.message)

    async def refresh(self) -> None:
        """Learns of new lives.

        Raises:
            MarqueeError: UNAVAILABLE, no database answers.
        """
        self._registry.update(await lives.known(self._databases))

    async def ping(self) -> None:
        """Raises if it is not known where submissions go, or no broker answers. For health."""
        self._registry.newest()
        await self._producer.ping()


def _unplaced() -> MarqueeError:
    """Without a place, a write would not show over an earlier rating."""
    return unavailable("QUEUE_UNAVAILABLE", "the write could not be placed; try again", 1)
