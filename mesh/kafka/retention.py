"""How long a log holds what was written: one setting, and all bounds that follow from it."""

from dataclasses import dataclass
from typing import Final

from mesh.config import setting

_DAY_S: Final = 86_400
_SHORTEST_SEGMENT_S: Final = 600
# The brokers look every five minutes for what is too old, and delete files a minute after.
_SLACK_S: Final = 3600


@dataclass(frozen=True)
class Retention:
    """How long topics of events hold what was written, and so how long readers must recognise it."""

    log_s: int = setting(
        "MARQUEE_LOG_RETENTION_S",
        7 * _DAY_S,
        "how long Kafka keeps events, in seconds; how long their identities are remembered follows from it. "
        "The same in every service",
        low=_SLACK_S,
        high=90 * _DAY_S,
    )

    @property
    def segment_s(self) -> int:
        """After how long a file of the log is full: what is deleted is whole files."""
        return max(self.log_s // 7, _SHORTEST_SEGMENT_S)

    @property
    def held_s(self) -> int:
        """For how long a message may be read, at most."""
        return self.log_s + self.segment_s + _SLACK_S

    @property
    def refresh_s(self) -> int:
        """An identity that is seen again counts as new for pruning, if it was not in the last so many."""
        return self.segment_s

    @property
    def remember_s(self) -> int:
        """How long identities of messages are kept: longer than any copy of them can be read."""
        return self.held_s + self.refresh_s

    @property
    def letters_s(self) -> int:
        """How long dead letters are kept, and may be sent again."""
        return 30 * _DAY_S

    @property
    def tombstones_s(self) -> int:
        """How long what was deleted keeps its place in the order: a dead letter may come back before it."""
        return self.letters_s + self.remember_s

    def topic_config(self) -> dict[str, str]:
        """What a topic is created with, beside `retention.ms`.

        The brokers' clock decides, not the producers': one that is ahead would keep its messages for longer.
        """
        return {"segment.ms": str(self.segment_s * 1000), "message.timestamp.type": "LogAppendTime"}
