"""How rating_svc is configured: one frozen dataclass a concern."""

from dataclasses import dataclass
from typing import Final

from mesh.config import setting


@dataclass(frozen=True)
class SubmissionLogConfig:
    """The log of submissions, as all roles must see it alike."""

    partitions: int = setting(
        "MARQUEE_RATING_PARTITIONS",
        12,
        "partitions of each topic when it is created; later see `rating_svc grow`",
        low=1,
        high=1000,
    )


WORKERS: Final = "rating_svc.worker.1"
"""The workers' consumer group, and the reader of their offsets. (Releases before had one each epoch.)"""


def worker_group(shard: int) -> str:
    """The consumer group of those who store into one database: each waits for no other database."""
    return f"{WORKERS}.shard-{shard}" if shard else WORKERS


@dataclass(frozen=True)
class PendingConfig:
    """What is remembered of writes that are not in the database yet."""

    ttl_s: int = setting(
        "MARQUEE_RATING_PENDING_TTL_S",
        3600,
        "how long a user's writes show if no worker stores them, in seconds since the last one",
        low=1,
    )
    local_limit: int = setting(
        "MARQUEE_RATING_PENDING_LOCAL",
        50_000,
        "writes remembered in the process, for while Redis is away",
        low=0,
    )
    redis_pause_s: float = setting(
        "MARQUEE_RATING_REDIS_PAUSE_S",
        0.5,
        "how long Redis is left alone after it failed, in seconds",
        low=0,
    )


@dataclass(frozen=True)
class MovieCheckConfig:
    """How movie_svc is asked whether a movie exists."""

    target: str = setting(
        "MARQUEE_MOVIE_SVC", "", "movie_svc's gRPC address; empty: every movie counts as existing"
    )
    timeout_s: float = setting(
        "MARQUEE_RATING_MOVIE_TIMEOUT_S",
        0.25,
        "how long a rating waits for movie_svc before it is taken unchecked, in seconds",
        low=0.01,
        high=5,
    )
    known_ttl_s: float = setting(
        "MARQUEE_RATING_MOVIE_KNOWN_S", 86_400.0, "how long a movie is known to exist, in seconds", low=0
    )
    missing_ttl_s: float = setting(
        "MARQUEE_RATING_MOVIE_MISSING_S", 60.0, "how long a movie is known not to exist, in seconds", low=0
    )
    limit: int = setting("MARQUEE_RATING_MOVIE_LIMIT", 200_000, "movies remembered, at most", low=1)
    pause_s: float = setting(
        "MARQUEE_RATING_MOVIE_PAUSE_S",
        2.0,
        "how long movie_svc is left alone after it failed three times on end, in seconds",
        low=0,
    )


@dataclass(frozen=True)
class WorkerConfig:
    """How the log is brought into the database."""

    batch: int = setting("MARQUEE_RATING_BATCH", 1000, "submissions a transaction, at most", low=1, high=5000)
    dead_letter_count: int = setting(
        "MARQUEE_RATING_DEAD_LETTERS",
        100,
        "dead letters a minute that are always accepted; above it, their share decides",
        low=0,
    )
    dead_letter_share: float = setting(
        "MARQUEE_RATING_DEAD_LETTER_SHARE",
        0.05,
        "the share of a minute's submissions that may be dead letters before the worker stops",
        low=0,
        high=1,
    )
    prune_interval_s: float = setting(
        "MARQUEE_RATING_PRUNE_INTERVAL_S", 60.0, "how often what is too old is deleted, in seconds", low=0.1
    )
    settle_s: float = setting(
        "MARQUEE_RATING_SETTLE_S",
        10.0,
        "how long a stored write still shows from Redis, in seconds: longer than a replica may be behind",
        low=0,
    )


@dataclass(frozen=True)
class RelayConfig:
    """How changes are handed on."""

    batch: int = setting("MARQUEE_RATING_RELAY_BATCH", 1000, "changes published at once, at most", low=1)
    poll_s: float = setting(
        "MARQUEE_RATING_RELAY_POLL_S",
        1.0,
        "how often the outbox is looked at without being woken, in seconds",
        low=0.05,
        high=5,
    )
    takeover_s: float = setting(
        "MARQUEE_RATING_RELAY_TAKEOVER_S",
        8.0,
        "after how long of silence a relay loses its turn to another, in seconds",
        low=6,
    )
