"""Dead letters: submissions that can never be dealt with, kept with their reason, up to a limit."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh.kafka import KafkaProducer, Record
from rating_svc import topics
from rating_svc.config import WorkerConfig
from rating_svc.submissions import Poison, Position

REASON: Final = "marquee-reason"
ERROR: Final = "marquee-error"
TOPIC: Final = "marquee-topic"
PARTITION: Final = "marquee-partition"
EPOCH: Final = "marquee-epoch"
OFFSET: Final = "marquee-offset"

# A redriven submission keeps its place in the order: what its user submitted since stays the last.
REDRIVEN_EPOCH: Final = "marquee-redriven-epoch"
REDRIVEN_OFFSET: Final = "marquee-redriven-offset"

_WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the log and why it can't be dealt with."""

    record: Record
    position: Position
    why: Poison


def position_of(record: Record, epoch: int) -> Position:
    """A submission's place in the order: where it was first written."""
    redriven = record.headers.get(REDRIVEN_OFFSET, "")
    redriven_epoch = record.headers.get(REDRIVEN_EPOCH, "")
    if redriven.isdecimal() and redriven_epoch.isdecimal():
        return Position(int(redriven_epoch), int(redriven))
    return Position(epoch, record.offset)


def headers_of(letter: DeadLetter) -> dict[str, str]:
    """What a dead letter says of itself, beside the headers that it came with."""
    kept = {k: v for k, v in letter.record.headers.items() if k not in (REDRIVEN_EPOCH, REDRIVEN_OFFSET)}
    return kept | {
        REASON: letter.why.reason,
        ERROR: str(letter.why),
        TOPIC: letter.record.topic,
        PARTITION: str(letter.record.partition),
        EPOCH: str(letter.position.epoch),
        OFFSET: str(letter.position.offset),
    }


def redrive_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with which a dead letter goes back to where it came from."""
    own = (REASON, ERROR, TOPIC, PARTITION, EPOCH, OFFSET)
    kept = {k: v for k, v in headers.items() if k not in own}
    return kept | {REDRIVEN_EPOCH: headers.get(EPOCH, ""), REDRIVEN_OFFSET: headers.get(OFFSET, "")}


async def send(producer: KafkaProducer, letter: DeadLetter) -> None:
    """Puts a message into the dead-letter topic, as it is.

    Raises:
        MarqueeError: the log did not take it.
    """
    await producer.send(topics.DEAD_LETTERS, letter.record.key, letter.record.value, headers_of(letter))


class DeadLetterLimit:
    """Tells single bad messages from a bad release, which would drain the whole topic.

    Over the last minute, up to `dead_letter_count` are always borne; more only
    while they are at most `dead_letter_share` of all.
    """

    def __init__(self, config: WorkerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = config.dead_letter_count
        self._share = config.dead_letter_share
        self._clock = clock
        self._window: deque[tuple[float, int, int]] = deque()
        self._total = 0
        self._dead = 0

    def exceeded(self, total: int, dead: int) -> bool:
        """Counts a batch in; says whether it goes over the limit."""
        now = self._clock()
        self._window.append((now, total, dead))
        self._total += total
        self._dead += dead
        while self._window[0][0] < now - _WINDOW_S:
            _, old_total, old_dead = self._window.popleft()
            self._total -= old_total
            self._dead -= old_dead
        return dead > 0 and self._dead > self._count and self._dead > self._share * self._total
