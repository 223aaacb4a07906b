"""How rating_svc is configured: one frozen dataclass a concern."""

from dataclasses import dataclass

from mesh.config import setting


@dataclass(frozen=True)
class LogConfig:
    """The log of submissions, as all roles must see it alike."""

    epoch: int = setting(
        "MARQUEE_RATING_LOG_EPOCH",
        1,
        "which life of the submissions topic this is: raise it by one when the topic was made anew or got "
        "another number of partitions, since offsets of different lives can't be compared",
        low=1,
        high=32_767,
    )
    partitions: int = setting(
        "MARQUEE_RATING_PARTITIONS", 12, "partitions of each topic when it is created", low=1, high=1000
    )

    @property
    def worker_group(self) -> str:
        """The workers' consumer group: another one each epoch, so that a new topic is read from its start."""
        return f"rating_svc.worker.{self.epoch}"


@dataclass(frozen=True)
class PendingConfig:
    """What is remembered of writes that are not in the database yet."""

    ttl_s: int = setting(
        "MARQUEE_RATING_PENDING_TTL_S",
        3600,
        "how long a write shows to its author if no worker stores it, in seconds",
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
class ServeConfig:
    """The RPC front."""

    page_token_key: str = setting(
        "MARQUEE_PAGE_TOKEN_KEY", help="the secret that signs page tokens", secret=True
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

    batch: int = setting("MARQUEE_RATING_BATCH", 500, "submissions a transaction, at most", low=1, high=5000)
    dead_letter_count: int = setting(
        "MARQUEE_RATING_DEAD_LETTERS",
        100,
        "dead letters a minute that are always borne; over it, their share decides",
        low=0,
    )
    dead_letter_share: float = setting(
        "MARQUEE_RATING_DEAD_LETTER_SHARE",
        0.05,
        "the share of a minute's submissions that may be dead letters before the worker stops",
        low=0,
        high=1,
    )
    request_retention_s: int = setting(
        "MARQUEE_RATING_REQUEST_RETENTION_S",
        26 * 3600,
        "how long a request_id is remembered, in seconds",
        low=60,
    )
    tombstone_retention_s: int = setting(
        "MARQUEE_RATING_TOMBSTONE_RETENTION_S",
        30 * 86_400,
        "how long a rating that was taken back keeps its place in the log's order, in seconds; "
        "longer than the topic's retention",
        low=3600,
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
