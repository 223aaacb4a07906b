"""Which topics the log of submissions is, and was: each life of one has an epoch.

Offsets order submissions within one life of a topic only. Epochs come from the
brokers' own ids, which never come again, in the order in which the topics were
first seen; nobody has to raise a number.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mesh.errors import unavailable
from mesh.kafka import Place

_GENERATION_RE: Final = re.compile(r"(?P<base>.+?)(?:\.g(?P<number>[1-9][0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class Life:
    """A life of a topic, or of one partition that lost its end."""

    epoch: int
    topic: str
    topic_id: str
    partitions: int
    """How many the topic had when it was first seen: users are spread over these, and never move."""
    partition: int | None
    """None: of all partitions."""
    ends: Sequence[int] | None = None
    """Where its partitions end, if it takes no more."""

    def partition_of(self, user: str) -> int:
        """Where a user's submissions go: as librdkafka would choose, but of the registered number."""
        return zlib.crc32(user.encode()) % self.partitions


def generation(topic: str) -> int:
    """Which generation of the log a topic is: 1, or what stands behind `.g` in its name."""
    found = _GENERATION_RE.fullmatch(topic)
    return int(found["number"] or 1) if found else 1


def next_name(topic: str) -> str:
    """The name of the generation after a topic."""
    found = _GENERATION_RE.fullmatch(topic)
    base = found["base"] if found else topic
    return f"{base}.g{generation(topic) + 1}"


def is_generation(base: str, topic: str) -> bool:
    """Whether a topic is one of a log's generations."""
    found = _GENERATION_RE.fullmatch(topic)
    return found is not None and found["base"] == base


def family(base: str) -> str:
    """The regular expression for the names of all generations of a log, for a consumer."""
    return f"^{re.escape(base)}(\\.g[0-9]+)?$"


class Registry:
    """All lives, as they are known to this process."""

    def __init__(self, lives: Sequence[Life] = ()) -> None:
        self.update(lives)

    def update(self, lives: Sequence[Life]) -> None:
        """Takes what the database says now."""
        self.lives = sorted(lives, key=lambda life: life.epoch)
        self._epochs: dict[Place, int] = {}
        whole = [life for life in self.lives if life.partition is None]
        self._newest = max(whole, key=lambda life: (generation(life.topic), life.epoch), default=None)

    def epoch(self, place: Place) -> int:
        """The epoch of what a partition holds.

        Raises:
            LookupError: the topic is not registered.
        """
        found = self._epochs.get(place)
        if found is None:
            own = [life for life in self.lives if life.topic_id == place.topic_id]
            epochs = [life.epoch for life in own if life.partition in (None, place.partition)]
            if not epochs:
                raise LookupError(f"the topic with the id {place.topic_id} is not registered")
            found = self._epochs[place] = max(epochs)
        return found

    def partition_of(self, user: str, epoch: int) -> int | None:
        """Where a user's submissions of an epoch stand; None if the epoch is not known."""
        return next((life.partition_of(user) for life in self.lives if life.epoch == epoch), None)

    def newest(self) -> Life:
        """The topic that submissions go to now.

        Raises:
            MarqueeError: UNAVAILABLE `QUEUE_UNAVAILABLE`, none is registered yet.
        """
        if self._newest is None:
            raise unavailable("QUEUE_UNAVAILABLE", "the log of submissions is not registered yet", 1)
        return self._newest

    def before(self, place: Place) -> set[str]:
        """The ids of the generations before a partition's own."""
        own = self.life(place.topic_id)
        if own is None:
            return set()
        number = generation(own.topic)
        return {life.topic_id for life in self.lives if generation(life.topic) < number}

    def life(self, topic_id: str) -> Life | None:
        """The life of a topic."""
        return next((x for x in self.lives if x.topic_id == topic_id and x.partition is None), None)
