"""Every metric of rating_svc, each with what to do when it moves."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from mesh.metrics import Group

SERVE: Final = Group()
PENDING: Final = Group()
"""Of serve and worker, which both keep pending writes."""
WORKER: Final = Group()
RELAY: Final = Group()

# -- serve --

SUBMITTED: Final = Counter(
    "marquee_rating_submitted_total",
    "Submissions that stand in the log, by kind: rate, delete, batch, import.",
    ("kind",),
    registry=SERVE,
)
REPEATED: Final = Counter(
    "marquee_rating_repeated_total",
    "Submissions that Redis knew as repeats of an earlier one. Rises with clients' retries: look at the "
    "latency and errors of RateMovie.",
    registry=SERVE,
)
MOVIE_CHECKS: Final = Counter(
    "marquee_rating_movie_checks_total",
    "Whether a rated movie exists, by answer: cached, exists, missing, unchecked. `unchecked` rises: "
    "movie_svc is away or slow, and ratings are taken on trust.",
    ("answer",),
    registry=SERVE,
)
PENDING_UNSHARED: Final = Counter(
    "marquee_rating_pending_unshared_total",
    "Writes that could not be put into Redis: until a worker stores them, only the replica that took them "
    "shows them. Rises: see to Redis, whether it is there and whether its memory is full.",
    registry=PENDING,
)
PENDING_STALE: Final = Counter(
    "marquee_rating_pending_stale_total",
    "Users whose pending writes were deleted since no worker stored them in MARQUEE_RATING_PENDING_TTL_S. "
    "Rises: see to the workers; what they store later is not lost, but its authors don't see it until then.",
    registry=PENDING,
)
HEDGED: Final = Counter(
    "marquee_rating_hedged_reads_total",
    "Reads for which the primary was asked too because a replica took too long. Growth: a replica hangs.",
    registry=SERVE,
)

IMPORT_RETRIES: Final = Counter(
    "marquee_rating_import_retries_total",
    "Portions of an import that had to be sent again because the log was away or full.",
    registry=SERVE,
)

# -- worker --

BATCH: Final = Histogram(
    "marquee_rating_worker_batch",
    "Submissions in a batch. Always at MARQUEE_RATING_BATCH: the worker is behind; see the consumer's lag.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000),
    registry=WORKER,
)
SUBMISSIONS: Final = Counter(
    "marquee_rating_worker_submissions_total",
    "Submissions by what became of them: stored, duplicate (seen before), superseded (a later one in the "
    "same batch), stale (the row was later in the log). `duplicate` rises without retries: the log is read "
    "again, as after a failover. `stale` rises with redriven letters only.",
    ("outcome",),
    registry=WORKER,
)
LETTERS_WAITING: Final = Gauge(
    "marquee_dead_letters_waiting",
    "Dead letters of a topic that nobody has sent again. Above zero: `marquee dlq list`, mend what made "
    "them, then `marquee dlq redrive`.",
    ("topic",),
    registry=WORKER,
)
PARTITIONS_IGNORED: Final = Gauge(
    "marquee_rating_partitions_ignored",
    "Partitions that were added to the topic behind its back, and are not written to. Above zero: somebody "
    "altered the topic; the log grows by `rating_svc grow`.",
    ("topic",),
    registry=WORKER,
)
CHANGES: Final = Counter(
    "marquee_rating_worker_changes_total",
    "Changes of a score that were put into the outbox.",
    registry=WORKER,
)
STORED_AFTER: Final = Histogram(
    "marquee_rating_stored_seconds",
    "From a submission to its commit in the database, in seconds. Over a minute: add workers.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
    registry=WORKER,
)
PRUNED: Final = Counter(
    "marquee_rating_pruned_total",
    "Rows deleted because of their age, by table.",
    ("table",),
    registry=WORKER,
)

# -- relay --

RELAY_ACTIVE: Final = Gauge(
    "marquee_rating_relay_active",
    "1 in the relay whose turn it is, by database. The sum over all relays is 1 for each; at 0 for a minute, "
    "no relay reaches the database.",
    ("shard",),
    registry=RELAY,
)
OUTBOX_PENDING: Final = Gauge(
    "marquee_rating_outbox_pending",
    "Changes that wait in the outbox of a database. Grows: see the relay's log for Kafka.",
    ("shard",),
    registry=RELAY,
)
OUTBOX_AGE: Final = Gauge(
    "marquee_rating_outbox_oldest_seconds",
    "Since when the first change that waits in the outbox of a database was submitted, in seconds; 0 if "
    "none waits. Over seconds: charts don't get it; see whether a relay has its turn and Kafka takes what it "
    "sends.",
    ("shard",),
    registry=RELAY,
)
PUBLISHED: Final = Counter(
    "marquee_rating_relay_published_total", "Changes that were handed to the topic.", registry=RELAY
)
PUBLISHED_AFTER: Final = Histogram(
    "marquee_rating_published_seconds",
    "From a submission to its change in the topic, in seconds: how fresh the charts can be.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
    registry=RELAY,
)
