"""How movie_svc is configured: one frozen dataclass a concern."""

from dataclasses import dataclass

from mesh.config import setting


@dataclass(frozen=True)
class OmdbConfig:
    """How OMDb is asked, and how much."""

    url: str = setting("MARQUEE_OMDB_URL", "https://www.omdbapi.com/", "where OMDb answers")
    api_key: str = setting("OMDB_API_KEY", "", "OMDb's API key; without one OMDb is never asked", secret=True)
    mode: str = setting(
        "MARQUEE_OMDB_MODE",
        "on",
        "off: OMDb is never asked, and what is not stored here does not exist",
        choices=("on", "off"),
    )
    deadline_s: float = setting(
        "MARQUEE_OMDB_DEADLINE_S", 3.0, "how long a question may take, retries included, in seconds", low=0.05
    )
    attempt_s: float = setting(
        "MARQUEE_OMDB_ATTEMPT_S", 1.5, "how long one attempt may take, in seconds", low=0.05
    )
    attempts: int = setting("MARQUEE_OMDB_ATTEMPTS", 2, "how often a question is asked", low=1, high=5)
    concurrency: int = setting(
        "MARQUEE_OMDB_CONCURRENCY", 8, "questions under way at once, at most", low=1, high=256
    )
    rate_per_s: float = setting(
        "MARQUEE_OMDB_RATE", 10.0, "questions a second, of all replicas together", low=0.01
    )
    burst: int = setting("MARQUEE_OMDB_BURST", 20, "questions at once before the rate holds", low=1)
    daily_limit: int = setting(
        "MARQUEE_OMDB_DAILY_LIMIT",
        1000,
        "questions a day (UTC), of all replicas; OMDb's free key: 1,000",
        low=0,
    )
    search_share: float = setting(
        "MARQUEE_OMDB_SEARCH_SHARE", 0.8, "searches stop when this share of the day is used", low=0, high=1
    )
    refresh_share: float = setting(
        "MARQUEE_OMDB_REFRESH_SHARE", 0.6, "refreshes stop when this share of the day is used", low=0, high=1
    )
    breaker_failures: float = setting(
        "MARQUEE_OMDB_BREAKER_FAILURES", 0.5, "the share of failures that opens the breaker", low=0.01, high=1
    )
    breaker_calls: int = setting(
        "MARQUEE_OMDB_BREAKER_CALLS", 6, "calls in the window before the breaker may open", low=1
    )
    breaker_window_s: float = setting(
        "MARQUEE_OMDB_BREAKER_WINDOW_S", 20.0, "how far back failures count, in seconds", low=0.1
    )
    breaker_pause_s: float = setting(
        "MARQUEE_OMDB_BREAKER_PAUSE_S",
        2.0,
        "how long an open breaker waits before it probes, in seconds",
        low=0.05,
    )
    breaker_max_pause_s: float = setting(
        "MARQUEE_OMDB_BREAKER_MAX_PAUSE_S", 60.0, "the longest such wait, in seconds", low=0.05
    )

    refused_pause_s: float = setting(
        "MARQUEE_OMDB_REFUSED_PAUSE_S",
        300.0,
        "how long OMDb is left alone when it refuses the key (limit reached, key bad, captcha), in seconds; "
        "doubles each time, up to twelve times that",
        low=0.05,
    )

    @property
    def enabled(self) -> bool:
        return self.mode == "on" and bool(self.api_key)


@dataclass(frozen=True)
class FreshnessConfig:
    """For how long what OMDb said is taken as true. Each time is spread by ±10 %."""

    new_s: float = setting(
        "MARQUEE_MOVIE_FRESH_NEW_S", 86_400.0, "a title of this year or the last, in seconds", low=0.05
    )
    recent_s: float = setting(
        "MARQUEE_MOVIE_FRESH_RECENT_S", 7 * 86_400.0, "a title of the last ten years, in seconds", low=0.05
    )
    old_s: float = setting("MARQUEE_MOVIE_FRESH_OLD_S", 30 * 86_400.0, "an older title, in seconds", low=0.05)
    grace_s: float = setting(
        "MARQUEE_MOVIE_GRACE_S",
        3600.0,
        "how long after that a title is not yet called stale: the time to ask OMDb again, in seconds",
        low=0,
    )
    absent_s: float = setting(
        "MARQUEE_MOVIE_ABSENT_S", 86_400.0, "that a title does not exist, in seconds", low=0.05
    )
    search_s: float = setting(
        "MARQUEE_MOVIE_SEARCH_S", 7 * 86_400.0, "a page of a search, in seconds", low=0.05
    )


@dataclass(frozen=True)
class CacheConfig:
    """The caches in front of the database."""

    l1_bytes: int = setting(
        "MARQUEE_MOVIE_L1_BYTES", 64 * 1024 * 1024, "the in-process cache's size, in bytes; 0 for none", low=0
    )
    l1_ttl_s: float = setting(
        "MARQUEE_MOVIE_L1_TTL_S",
        300.0,
        "how long it keeps a title while Redis tells of changes, in seconds",
        low=0,
    )
    l1_untracked_ttl_s: float = setting(
        "MARQUEE_MOVIE_L1_UNTRACKED_TTL_S",
        5.0,
        "how long it keeps one while Redis is away, in seconds",
        low=0,
    )
    redis_ttl_s: float = setting(
        "MARQUEE_MOVIE_REDIS_TTL_S", 6 * 3600.0, "how long Redis keeps a title, in seconds", low=1
    )
    redis_pause_s: float = setting(
        "MARQUEE_MOVIE_REDIS_PAUSE_S", 1.0, "how long Redis is left alone after it failed, in seconds", low=0
    )
