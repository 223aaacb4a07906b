"""Every metric of movie_svc, each with what to do when it moves."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

CACHE: Final = Counter(
    "marquee_movie_cache_total",
    "Look-ups by layer (l1, redis, postgres, omdb) and outcome (hit, stale, absent, miss, error; coalesced: "
    "joined what another call, or at omdb another replica, had begun; renewed: fetched again unasked). "
    "l1 hits fall: more titles in use than the memory holds, or Redis lost its connection. "
    "omdb misses rise: unknown ids are being tried out.",
    ("layer", "outcome"),
)
CACHE_BYTES: Final = Gauge("marquee_movie_l1_bytes", "Bytes that the in-process cache holds.")
CACHE_ENTRIES: Final = Gauge("marquee_movie_l1_entries", "Titles that the in-process cache holds.")
CACHE_EVICTIONS: Final = Counter(
    "marquee_movie_l1_evictions_total",
    "Titles put out of the in-process cache for lack of room. Steady growth: raise MARQUEE_MOVIE_L1_BYTES.",
)
INVALIDATIONS: Final = Counter(
    "marquee_movie_l1_invalidations_total", "Titles dropped because Redis said that they had changed."
)
TRACKING: Final = Gauge(
    "marquee_movie_l1_tracking",
    "1 while Redis tells this process what has changed; 0: the in-process cache is kept for seconds only.",
)
OMDB_CALLS: Final = Counter(
    "marquee_omdb_calls_total",
    "Calls to OMDb by kind (i, t, s, refresh, plot) and outcome. limited: the daily quota is used up; "
    "bad_key: fix OMDB_API_KEY; captcha: this address is blocked.",
    ("kind", "outcome"),
)
OMDB_SECONDS: Final = Histogram(
    "marquee_omdb_call_seconds",
    "How long one attempt at OMDb took, in seconds.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8),
)
BREAKER: Final = Gauge(
    "marquee_omdb_breaker_state",
    "0 closed, 1 half open (probing), 2 open: OMDb is not asked. Known titles are still served.",
)
QUOTA_USED: Final = Gauge(
    "marquee_omdb_quota_used",
    "Calls to OMDb today, of all replicas and with what they hold in reserve, as far as this one knows.",
)
QUOTA_LIMIT: Final = Gauge(
    "marquee_omdb_quota_limit",
    "Calls to OMDb a day, of all replicas together: MARQUEE_OMDB_DAILY_LIMIT. Nearly used: unknown titles "
    "will not be found until midnight UTC.",
)
QUOTA_RESERVE: Final = Gauge(
    "marquee_omdb_quota_reserve",
    "Calls to OMDb that this replica holds in reserve, counted already, for while the primary is away.",
)
QUOTA_LOCAL: Final = Gauge(
    "marquee_omdb_quota_local",
    "1 while the primary is away and this replica lives on the calls that it holds in reserve.",
)
UNPARSED: Final = Counter(
    "marquee_omdb_unparsed_total",
    "OMDb values that could not be understood, by field. A jump: OMDb has a new form; see Movie.unparsed.",
    ("field",),
)
UNSAVED: Final = Counter(
    "marquee_movie_unsaved_total",
    "OMDb answers that were served but could not be stored: the primary was away.",
)
REFRESHED: Final = Counter(
    "marquee_movie_refreshed_total",
    "Titles asked of OMDb again, by outcome (changed, same, absent, failed).",
    ("outcome",),
)
PRUNED: Final = Counter(
    "marquee_movie_pruned_total", "Rows deleted because they say nothing any more, by table.", ("table",)
)
HEDGED: Final = Counter(
    "marquee_movie_hedged_reads_total",
    "Reads for which the primary was asked too because a replica took too long. Growth: a replica hangs.",
)
OUTBOX: Final = Gauge(
    "marquee_movie_outbox_events",
    "Events that wait to be sent to Kafka. Grows for minutes: Kafka or the relay is away.",
)
OUTBOX_AGE: Final = Gauge(
    "marquee_movie_outbox_oldest_seconds",
    "How long the first event that waits to be sent to Kafka has waited, in seconds; 0 if none waits. Over a "
    "minute: charts show old titles; see whether Kafka takes writes.",
)
RELAY_ACTIVE: Final = Gauge(
    "marquee_movie_relay_active",
    "1 in the replica whose relay has its turn. The sum over all replicas is 1; at 0 for a minute, no relay "
    "reaches both the database and Kafka.",
)
PUBLISHED: Final = Counter("marquee_movie_relay_published_total", "Events that were handed to the topic.")
