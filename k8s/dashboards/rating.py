"""What rating_svc has for itself."""

from typing import Final

from k8s.dashboards.model import Kind, Panel, Query, Row, Unit, moving, quantile, quantiles, rate

_WRITES: Final = Row(
    "Taken: RPC → log",
    (
        Panel(
            "Submissions",
            "What stands in the log, by kind.",
            (Query(moving("marquee_rating_submitted_total", "kind"), "{{kind}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Repeats",
            "Submissions that were repeats of an earlier one. Rises with clients' retries.",
            (Query(rate("marquee_rating_repeated_total"), "repeated"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Does the movie exist?",
            "unchecked rises: movie_svc is away or slow, and ratings are taken on trust.",
            (Query(moving("marquee_rating_movie_checks_total", "answer"), "{{answer}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Not shared",
            "Writes that could not be put into Redis: until a worker stores them, only one replica "
            "shows them.",
            (Query(rate("marquee_rating_pending_unshared_total", "instance"), "{{instance}}"),),
            Unit.PER_SECOND,
        ),
    ),
    height=7,
)

_STORED: Final = Row(
    "Stored: log → database (worker)",
    (
        Panel(
            "By outcome",
            "duplicate rises without retries: the log is read again, as after a failover. stale rises "
            "with redriven "
            "letters only.",
            (Query(moving("marquee_rating_worker_submissions_total", "outcome"), "{{outcome}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Submission → database",
            "Over a minute: add workers.",
            quantiles("marquee_rating_stored_seconds"),
            Unit.SECONDS,
        ),
        Panel(
            "Size of batches, p95",
            "Always at MARQUEE_RATING_BATCH: the worker is behind.",
            (Query(quantile(0.95, "marquee_rating_worker_batch"), "submissions"),),
        ),
        Panel(
            "Dead letters",
            "Messages that could not be processed. Above 0: `marquee dlq list`.",
            (Query("max by (topic) (marquee_dead_letters_waiting)", "{{topic}}"),),
            kind=Kind.STAT,
            steps=((1, "warning"),),
        ),
    ),
    height=7,
)

_RELAY: Final = Row(
    "Handed on: outbox → topic (relay)",
    (
        Panel(
            "Relays at work",
            "For each database one has its turn, others stand by. 0 for a minute: none reaches a database.",
            (Query("min(sum by (shard) (marquee_rating_relay_active))"),),
            kind=Kind.STAT,
        ),
        Panel(
            "Waiting in the outbox",
            "Grows: see the relay's log for Kafka.",
            (Query("max(marquee_rating_outbox_pending)", "changes"),),
        ),
        Panel(
            "Oldest in the outbox",
            "Since when the first change that waits was submitted.",
            (Query("max(marquee_rating_outbox_oldest_seconds)", "oldest"),),
            Unit.SECONDS,
        ),
        Panel(
            "Submission → topic",
            "How fresh charts can be.",
            quantiles("marquee_rating_published_seconds"),
            Unit.SECONDS,
        ),
    ),
    height=7,
)

ROWS: Final = (_WRITES, _STORED, _RELAY)
